#include "model/rope_table.h"

#include <algorithm>
#include <cmath>

namespace cria::model {
namespace {
/// Rows of the first positions are kept: at most 8 MB for heads of 128 elements.
constexpr uint32_t kKeptPositions = 16384;
}  // namespace

void RopeTable::write_row(uint32_t position, float* to) const {
  for (const float frequency : rope_.inverse_frequencies) {
    const double angle = static_cast<float>(position) * frequency;
    *to++ = static_cast<float>(std::cos(angle) * rope_.attention_factor);
    *to++ = static_cast<float>(std::sin(angle) * rope_.attention_factor);
  }
}

std::vector<float> RopeTable::rows(const ModelConfig& config, std::span<const uint32_t> positions,
                                   uint32_t sequence_length) {
  RopeFrequencies rope = rope_frequencies(config, sequence_length);
  if (rope.inverse_frequencies != rope_.inverse_frequencies || rope.attention_factor != rope_.attention_factor) {
    rope_ = std::move(rope);
    is_kept_.clear();
  }
  const size_t row = 2 * rope_.inverse_frequencies.size();
  std::vector<float> table(positions.size() * row);
  for (size_t i = 0; i < positions.size(); ++i) {
    const uint32_t position = positions[i];
    float* to = table.data() + i * row;
    if (position >= kKeptPositions) {
      write_row(position, to);
      continue;
    }
    if (is_kept_.size() <= position) {
      is_kept_.resize(position + 1);
      kept_.resize((position + 1) * row);
    }
    float* kept = kept_.data() + position * row;
    if (!is_kept_[position]) write_row(position, kept);
    is_kept_[position] = true;
    std::copy_n(kept, row, to);
  }
  return table;
}

}  // namespace cria::model
