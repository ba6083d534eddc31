// Log-probabilities of tokens under the model's own distribution, before any sampling rule.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace cria::engine {

/// Natural logarithms of the softmax of a row of logits.
struct TokenLogprobs {
  float chosen = 0;                             ///< of the token that was drawn
  std::vector<std::pair<uint32_t, float>> top;  ///< the likeliest tokens, the likeliest first, the lowest among equals
};

/// For finite logits [vocab_size], a token among them, and so many of the likeliest (all, where there are fewer).
[[nodiscard]] TokenLogprobs token_logprobs(std::span<const float> logits, uint32_t token, uint32_t top_count);

}  // namespace cria::engine
