// What products on matrix units take beside their operands where their columns are shared out.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cria::kernels {

/// Elements of f32 that the parts of one product take at most: 64 MiB.
inline constexpr uint64_t kMaxPartsSize = 16ULL << 20;
/// Rows that they have at most, those of all tokens in all parts: 128 tokens in 4 parts, or fewer in more.
inline constexpr uint32_t kMaxPartRows = 512;

/// Elements that the parts of a product of so many rows of W take at most.
[[nodiscard]] constexpr uint64_t most_parts_size(uint32_t rows) {
  return std::min(kMaxPartsSize, uint64_t{kMaxPartRows} * rows);
}

}  // namespace cria::kernels
