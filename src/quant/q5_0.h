// Q5_0: blocks of 32 weights with one scale; 5.5 bits a weight.
//
// value = (integer - 16) * scale. The low four bits lie as in Q4_0; bit j of the 32 in `high` is the fifth of weight j.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ5_0 {
  uint16_t scale;  ///< f16
  uint8_t high[4];
  uint8_t halves[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

/// The 5 bits of weight `j` of 32: four in its half of a byte, the highest in a plane of its own.
[[nodiscard]] constexpr uint32_t five_bits(const uint8_t (&high)[4], const uint8_t (&halves)[16], uint32_t j) {
  const uint32_t low = j < 16 ? halves[j] & 15U : halves[j - 16] >> 4U;
  return low | ((high[j / 8] >> (j % 8)) & 1U) << 4U;
}

constexpr void decode(const BlockQ5_0& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t j = 0; j < 32; ++j) {
    out[j] = (static_cast<float>(five_bits(block.high, block.halves, j)) - 16) * scale;
  }
}

}  // namespace cria::quant
