// Q6_K: blocks of 256 weights in 16 groups of 16, each with a scale of 8 bits; 6.5625 bits a weight.
//
// value = scale * (group's scale) * (integer - 32). For weight 128 n + 32 k + l (k < 4, l < 32), the low four bits are
// in byte 64 n + 32 (k % 2) + l of `low`, in its low half for k < 2; the high two are bits 2 k and 2 k + 1 of byte 32 n
// + l of `high`. Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ6_K {
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  uint16_t scale;  ///< f16
};
static_assert(sizeof(BlockQ6_K) == 210);

constexpr void decode(const BlockQ6_K& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t n = e / 128;
    const uint32_t k = e % 128 / 32;
    const uint32_t low = (block.low[64 * n + 32 * (k % 2) + e % 32] >> (k / 2 * 4)) & 15U;
    const uint32_t high = (block.high[32 * n + e % 32] >> (2 * k)) & 3U;
    const uint32_t group = e / 16;
    const float group_scale = scale * static_cast<float>(block.scales[group]);
    out[e] = group_scale * (static_cast<float>(low | high << 4U) - 32);
  }
}

}  // namespace cria::quant
