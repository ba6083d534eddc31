// Q2_K: blocks of 256 weights in 16 groups of 16, each with a scale and an offset of 4 bits; 2.625 bits a weight.
//
// value = scale * (low half of scales[group]) * quarter - offset * (high half of scales[group]).
// Weights 128 n + 32 k + l (k < 4, l < 32) are bits 2 k and 2 k + 1 of byte 32 n + l.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t quarters[64];
  uint16_t scale;   ///< f16
  uint16_t offset;  ///< f16
};
static_assert(sizeof(BlockQ2_K) == 84);

constexpr void decode(const BlockQ2_K& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  const float offset = f16_to_f32(block.offset);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t quarter = (block.quarters[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2)) & 3U;
    const uint32_t packed = block.scales[e / 16];
    out[e] = scale * static_cast<float>(packed & 15U) * static_cast<float>(quarter) -
             offset * static_cast<float>(packed >> 4U);
  }
}

}  // namespace cria::quant
