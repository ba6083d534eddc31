// Q3_K: blocks of 256 weights in 16 groups of 16, each with a scale of 6 bits; 3.4375 bits a weight.
//
// value = scale * (group's scale - 32) * (integer - 4). The low two bits of an integer lie as in Q2_K; its third is bit
// 4 n + k of high[l], for weight 128 n + 32 k + l. The low four bits of the scale of group g are the low half of
// scales[g] (g < 8) or the high half of scales[g - 8]; its high two are bits 2 (g / 4) and on of scales[8 + g % 4].
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ3_K {
  uint8_t high[32];
  uint8_t quarters[64];
  uint8_t scales[12];
  uint16_t scale;  ///< f16
};
static_assert(sizeof(BlockQ3_K) == 110);

constexpr void decode(const BlockQ3_K& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t column = e / 32;  // 4 n + k
    const uint32_t low = (block.quarters[e / 128 * 32 + e % 32] >> (column % 4 * 2)) & 3U;
    const uint32_t integer = low | ((block.high[e % 32] >> column) & 1U) << 2U;
    const uint32_t group = e / 16;
    const uint32_t scale_low = group < 8 ? block.scales[group] & 15U : block.scales[group - 8] >> 4U;
    const uint32_t scale_high = (block.scales[8 + group % 4] >> (group / 4 * 2)) & 3U;
    const float group_scale = scale * (static_cast<float>(scale_low | scale_high << 4U) - 32);
    out[e] = group_scale * (static_cast<float>(integer) - 4);
  }
}

}  // namespace cria::quant
