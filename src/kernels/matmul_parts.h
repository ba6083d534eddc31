// What products on matrix units take beside their operands where their columns are shared out.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cria::kernels {

/// Elements of f32 that the parts of one product take at most: 64 MiB.
inline constexpr uint64_t kMaxPartsSize = 16ULL << 20;

/// Elements that products of up to so many rows take at most, in decode steps of `slots` sequences and short prompts:
/// no cut makes more than 16 parts of 32 tokens, or of 64 where there are more slots.
[[nodiscard]] constexpr uint64_t most_parts_size(uint32_t rows, uint32_t slots) {
  return std::min(kMaxPartsSize, uint64_t{16} * (slots > 32 ? 64 : 32) * rows);
}

}  // namespace cria::kernels
