#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cria::engine {

TokenLogprobs token_logprobs(std::span<const float> logits, uint32_t token, uint32_t top_count) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  const auto logprob = [&](uint32_t index) { return static_cast<float>(logits[index] - highest - std::log(sum)); };
  TokenLogprobs result{.chosen = logprob(token), .top = {}};
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(top_count, order.size()));
  std::partial_sort(order.begin(), end, order.end(),
                    [&](uint32_t a, uint32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  for (auto index = order.begin(); index != end; ++index) result.top.emplace_back(*index, logprob(*index));
  return result;
}

}  // namespace cria::engine
