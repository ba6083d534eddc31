#include "engine/pass_size.h"

#include <algorithm>
#include <bit>

namespace cria::engine {
namespace {
constexpr double kPassSeconds = 0.5;
/// Below it, a pass costs nearly what it costs with as many.
constexpr uint32_t kFewestTokens = 16;
/// Operations per second of a slow GPU: an integrated one of ten years ago.
constexpr double kFirstRate = 2e11;
}  // namespace

PassSize::PassSize(const model::ModelConfig& config, uint32_t most) : most_(most), rate_(kFirstRate) {
  const double hidden = config.hidden_size;
  const double layer = hidden * (2.0 * config.q_size() + 2.0 * config.kv_size() + 3.0 * config.intermediate_size);
  work_per_token_ = 2 * layer * config.num_layers;
  work_per_token_position_ = 4.0 * config.q_size() * config.num_layers;
}

double PassSize::work(uint32_t tokens, uint32_t position) const {
  const double seen = position + tokens / 2.0;  // by a query on average
  return tokens * (work_per_token_ + work_per_token_position_ * seen);
}

uint32_t PassSize::tokens(uint32_t position) const {
  uint32_t count = most_;
  while (count > kFewestTokens && work(count, position) > kPassSeconds * rate_) count = std::bit_floor(count - 1);
  return count;
}

void PassSize::observe(uint32_t tokens, uint32_t position, double seconds) {
  if (seconds <= 0) return;
  const double rate = work(tokens, position) / seconds;
  // A short pass tells what the device can do at least: few tokens cost nearly as much as more.
  rate_ = seconds > kPassSeconds ? rate : std::max(rate_, rate);
}

}  // namespace cria::engine
