// Q4_0: blocks of 32 weights with one scale; 4.5 bits a weight.
//
// value = (half - 8) * scale. Byte j holds weight j in its low half and weight j + 16 in its high half: the layout of
// Cria's int4 with blocks of 32 (quant/blocks.h), but for the scale, which stands before them.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ4_0 {
  uint16_t scale;  ///< f16
  uint8_t halves[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

constexpr void decode(const BlockQ4_0& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((block.halves[j] & 15) - 8) * scale;
    out[j + 16] = static_cast<float>((block.halves[j] >> 4) - 8) * scale;
  }
}

}  // namespace cria::quant
