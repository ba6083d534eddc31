// Q4_K: blocks of 256 weights in 8 groups of 32, each with a scale and an offset of 6 bits; 4.5 bits a weight.
//
// value = scale * (group's scale) * half - offset * (group's offset). Weights 64 n + l and 64 n + 32 + l (l < 32) are
// the low and the high half of byte 32 n + l. Source: the block types of ggml (github.com/ggml-org/ggml) and the pull
// requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ4_K {
  uint16_t scale;   ///< f16
  uint16_t offset;  ///< f16
  uint8_t scales[12];
  uint8_t halves[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

/// Scale and offset, of 6 bits each, of group `g` of 8, from the 12 bytes that Q4_K and Q5_K keep them in: bytes 0 to 3
/// and 4 to 7 hold those of groups 0 to 3 in their low six bits; bytes 8 to 11 the low halves of those of groups 4 to
/// 7, whose high two bits are the high ones of bytes 0 to 7.
struct SixBitPair {
  uint32_t scale, offset;
};
[[nodiscard]] constexpr SixBitPair six_bit_pair(const uint8_t (&scales)[12], uint32_t g) {
  if (g < 4) return {scales[g] & 63U, scales[g + 4] & 63U};
  const uint32_t high_scale = scales[g - 4] >> 6U;
  const uint32_t high_offset = scales[g] >> 6U;
  return {(scales[g + 4] & 15U) | high_scale << 4U, uint32_t{scales[g + 4]} >> 4U | high_offset << 4U};
}

/// Writes the pair of group `g` into 12 bytes that are 0 there.
constexpr void put_six_bit_pair(uint32_t scale, uint32_t offset, uint32_t g, uint8_t (&scales)[12]) {
  if (g < 4) {
    scales[g] |= static_cast<uint8_t>(scale);
    scales[g + 4] |= static_cast<uint8_t>(offset);
    return;
  }
  scales[g + 4] |= static_cast<uint8_t>((scale & 15U) | (offset & 15U) << 4U);
  scales[g - 4] |= static_cast<uint8_t>(scale >> 4U << 6U);
  scales[g] |= static_cast<uint8_t>(offset >> 4U << 6U);
}

constexpr void decode(const BlockQ4_K& block, std::span<float, 256> out) {
  const float scale = f16_to_f32(block.scale);
  const float offset = f16_to_f32(block.offset);
  for (uint32_t e = 0; e < 256; ++e) {
    const uint32_t group = e / 32;
    const uint32_t half = (block.halves[e / 64 * 32 + e % 32] >> (group % 2 * 4)) & 15U;
    const SixBitPair pair = six_bit_pair(block.scales, group);
    out[e] =
        scale * static_cast<float>(pair.scale) * static_cast<float>(half) - offset * static_cast<float>(pair.offset);
  }
}

}  // namespace cria::quant
