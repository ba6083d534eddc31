// Q4_1: blocks of 32 weights with a scale and a lowest value; 5 bits a weight.
//
// value = half * scale + lowest. Byte j holds weight j in its low half and weight j + 16 in its high half.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ4_1 {
  uint16_t scale;   ///< f16
  uint16_t lowest;  ///< f16
  uint8_t halves[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

constexpr void decode(const BlockQ4_1& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  const float lowest = f16_to_f32(block.lowest);
  for (uint32_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(block.halves[j] & 15) * scale + lowest;
    out[j + 16] = static_cast<float>(block.halves[j] >> 4) * scale + lowest;
  }
}

}  // namespace cria::quant
