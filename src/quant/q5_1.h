// Q5_1: blocks of 32 weights with a scale and a lowest value; 6 bits a weight.
//
// value = integer * scale + lowest. The integers' bits lie as in Q5_0.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"
#include "quant/q5_0.h"

namespace cria::quant {

struct BlockQ5_1 {
  uint16_t scale;   ///< f16
  uint16_t lowest;  ///< f16
  uint8_t high[4];
  uint8_t halves[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

constexpr void decode(const BlockQ5_1& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  const float lowest = f16_to_f32(block.lowest);
  for (uint32_t j = 0; j < 32; ++j) {
    out[j] = static_cast<float>(five_bits(block.high, block.halves, j)) * scale + lowest;
  }
}

}  // namespace cria::quant
