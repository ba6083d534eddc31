// IQ4_XS: blocks of 256 weights in 8 groups of 32, each with a scale of 6 bits, of the values of IQ4_NL; 4.25 bits a
// weight.
//
// value = scale * (group's scale - 32) * kNonLinear[half]. The low four bits of the scale of group g are half g % 2 of
// scales_low[g / 2]; its high two are bits 2 g and 2 g + 1 of scales_high. The halves of each group lie as in Q4_0.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"
#include "quant/iq4_nl.h"

namespace cria::quant {

struct BlockIQ4_XS {
  uint16_t scale;  ///< f16
  uint16_t scales_high;
  uint8_t scales_low[4];
  uint8_t halves[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

constexpr void decode(const BlockIQ4_XS& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t group = e / 32;
    const uint32_t low = (block.scales_low[group / 2] >> (group % 2 * 4)) & 15U;
    const uint32_t high = (block.scales_high >> (2 * group)) & 3U;
    const uint32_t half = (block.halves[16 * group + e % 16] >> (e % 32 / 16 * 4)) & 15U;
    out[e] = scale * (static_cast<float>(low | high << 4U) - 32) * static_cast<float>(kNonLinear[half]);
  }
}

}  // namespace cria::quant
