// Q8_0: blocks of 32 weights with one scale; 8.5 bits a weight.
//
// value = integer * scale: the numbers of Cria's int8 with blocks of 32 (quant/blocks.h).
// Source: the block types of ggml (github.com/ggml-org/ggml) and the pull requests that introduced them.
#pragma once

#include <cstdint>
#include <span>

#include "quant/float16.h"

namespace cria::quant {

struct BlockQ8_0 {
  uint16_t scale;  ///< f16
  int8_t integers[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

constexpr void decode(const BlockQ8_0& block, std::span<float, 32> out) {
  const float scale = f16_to_f32(block.scale);
  for (uint32_t j = 0; j < 32; ++j) out[j] = static_cast<float>(block.integers[j]) * scale;
}

}  // namespace cria::quant
