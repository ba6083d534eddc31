// IQ4_NL: blocks of 32 weights of 4 bits that stand for 16 values at uneven distances, and one scale; 4.5 bits a
// weight.
//
// value = kNonLinear[half] * scale. The halves lie as in Q4_0.
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockIQ4_NL {
  uint16_t scale;  ///< f16
  uint8_t halves[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

/// The values that 4 bits stand for, denser near 0.
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

constexpr void decode(const BlockIQ4_NL& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(kNonLinear[block.halves[j] & 15]) * scale;
    out[j + 16] = static_cast<float>(kNonLinear[block.halves[j] >> 4]) * scale;
  }
}

}  // namespace cria::quant
