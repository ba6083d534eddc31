// Super-blocks of Q4_K, Q5_K and Q6_K (quant/q4_k.h and so on) as the GPU keeps them: every bit of the file's block, in
// two planes whose parts can be read 16 bytes at a time.
//
// A matrix [rows, columns], columns a multiple of 256, has in both planes its super-blocks in order. Of one of them:
//   integers: 8 units of 32 columns, 16 bytes each: byte j holds the low four bits of column j in its low half, those
//   of
//             column j + 16 in its high half. Then the bits above:
//             Q5_K: 8 words, one for each unit: bit 8 b + i is the fifth bit of column 4 i + b (b < 4, i < 8).
//             Q6_K: 16 words, one for 16 columns: bits 8 b + 2 i and 8 b + 2 i + 1 are the high two of column 4 i + b
//             (b < 4, i < 4). Its integers are in two's complement, from -32 to 31.
//   scales:   Q4_K, Q5_K: 4 words, for the 8 units. First scale (low half) and offset (high half) of the block, f16;
//             then 8 bytes, of each unit the scale in the low six bits and the high two bits of the offset above them;
//             then 4 bits for each unit, the low ones of its offset.
//             Q6_K: 5 words. 16 bytes, the scales of 16 columns each; then the block's scale, f16, and two bytes of 0.
// Bits per weight: 4.5, 5.5 and 6.625 (in the file 6.5625).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace cria::quant {

/// The words of a super-block in the two planes.
template <size_t integer_words, size_t scale_words>
struct SuperBlockPlanes {
  std::array<uint32_t, integer_words> integers{};
  std::array<uint32_t, scale_words> scales{};
};

[[nodiscard]] SuperBlockPlanes<32, 4> planes_of(const BlockQ4_K& block);
[[nodiscard]] SuperBlockPlanes<40, 4> planes_of(const BlockQ5_K& block);
[[nodiscard]] SuperBlockPlanes<48, 5> planes_of(const BlockQ6_K& block);

}  // namespace cria::quant
