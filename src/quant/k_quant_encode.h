// Rows of floats to rows of Q4_K, Q5_K and Q6_K super-blocks (quant/q4_k.h, quant/q5_k.h, quant/q6_k.h).
//
// Scales are chosen by squared error. For each group (32 columns with a scale and an offset, or 16 with a scale)
// several scales are tried round the one that just reaches the extremes; the integers of each give a least-squares fit,
// and the best fit is kept. The block's two factors are such that the largest of its groups' scales and offsets can be
// told in 6 (8) bits; then of the neighbouring 6-bit (8-bit) numbers those with the least error are taken, and the
// integers that are nearest with them.
#pragma once

#include <cstddef>
#include <span>

namespace cria::quant {

/// values.size() is a multiple of 256; `out` takes 144 bytes for each block. A block that holds NaN or infinity, or
/// whose factors would be above 65,504, the largest f16, gets factors that are NaN.
void encode_q4_k(std::span<const float> values, std::byte* out);
/// The same with 176 bytes for each block.
void encode_q5_k(std::span<const float> values, std::byte* out);
/// The same with 210 bytes for each block.
void encode_q6_k(std::span<const float> values, std::byte* out);

}  // namespace cria::quant
