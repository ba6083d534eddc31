// Weights quantised in blocks: integers of 8 or 4 bits, and one f16 scale for each block of columns.
//
// Layout of a matrix [rows, columns] with blocks of B = 32, 64 or 128 columns; each row is padded to a
// multiple of 2 B columns with zeros:
//   values, int8: one byte a column, two's complement, in order; value = integer * scale.
//           int4: 16 bytes for 32 columns, byte j holding column j in its low half and column j + 16 in its
//                 high half, each with 8 added; value = (half - 8) * scale.
//   scales, f16: one for each block, in order.
// Bits per weight: 8 + 16 / B and 4 + 16 / B, so 8.5 and 4.5 for B = 32.
//
// An integer is the one nearest to weight / scale, ties to even, in the range of its bits. (Rounding the quotient to
// f32 first makes no difference: as a scale has 11 bits and an integer 7, no quotient is so near to a tie that it
// becomes one.) Of int8 the scale is the f16 nearest to max / 127, ties to even, so that all of a block follows from
// its weights; so it does on a GPU (quantize.wgsl), however that divides.
//
// A block that cannot be stored has the scale NaN and integers 0: one with NaN or infinity, or whose scale would round
// to more than 65,504, the largest f16 (int8: values from 127 * 65,520 on; int4: from 9 * 65,520 on).
#pragma once

#include <cstdint>
#include <span>

#include "quant/lanes.h"

namespace cria::quant {

/// Columns that share 16 bytes of int4.
inline constexpr uint32_t kUnitColumns = 32;

/// Quantises one block (values.size() columns) to integers in [-127, 127] and returns the f16 scale:
/// max |value| / 127.
uint16_t encode_int8_block(std::span<const float> values, std::span<int8_t> integers);

/// Quantises one block to integers in [-8, 7] and returns the f16 scale, chosen by squared error (see
/// quantize.wgsl).
uint16_t encode_int4_block(std::span<const float> values, std::span<int8_t> integers);

/// The scales of eight blocks, as f16 holds them: values [size, 8]. Not finite where a block cannot be stored.
void int8_scales(const Lanes* values, size_t size, Lanes& scales);
void int4_scales(const Lanes* values, size_t size, Lanes& scales);

/// The 16 bytes of 32 integers in [-8, 7].
void pack_int4_unit(std::span<const int8_t, kUnitColumns> integers, std::span<uint8_t, 16> bytes);
/// The 32 integers of 16 bytes.
void unpack_int4_unit(std::span<const uint8_t, 16> bytes, std::span<int8_t, kUnitColumns> integers);

}  // namespace cria::quant
