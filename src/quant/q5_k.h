// Q5_K: blocks of 256 weights in 8 groups of 32, each with a scale and an offset of 6 bits; 5.5 bits a weight.
//
// value = scale * (group's scale) * integer - offset * (group's offset). The low four bits of an integer and the scales
// lie as in Q4_K; the fifth bit of weight 32 g + l is bit g of high[l].
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"
#include "quant/q4_k.h"

namespace cria::quant {

struct BlockQ5_K {
  uint16_t scale;   ///< f16
  uint16_t offset;  ///< f16
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t halves[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

constexpr void decode(const BlockQ5_K& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  const float offset = f16_to_f32(block.offset);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t group = e / 32;
    const uint32_t low = (block.halves[e / 64 * 32 + e % 32] >> (group % 2 * 4)) & 15U;
    const uint32_t integer = low | ((block.high[e % 32] >> group) & 1U) << 4U;
    const SixBitPair pair = six_bit_pair(block.scales, group);
    out[e] =
        scale * static_cast<float>(pair.scale) * static_cast<float>(integer) - offset * static_cast<float>(pair.offset);
  }
}

}  // namespace cria::quant
