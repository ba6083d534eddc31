// Q4_0 blocks that change a product's outputs least, rather than the weights themselves.
//
// For each row w, minimises (w' - w) H (w' - w)^T + 2 w D (w' - w)^T (quant/second_moments.h) over the integers q of
// all columns and the scales d of all blocks, w' = q d, by coordinate descent: it begins with what encode_q4_0 makes,
// and then goes several times through the columns, a block after the other. With all else as it is, the best value of
// column c is
//   w'_c - ((w' - w) H + w D)_c / H_cc,
// rounded to the nearest integer; and the best factor of a block's scale is given by the same derivative along q. So
// later columns make up for the errors of earlier ones, and in the next round the other way round.
// Source: Behdin et al. 2023 (QuantEase: coordinate descent for the layer-wise problem of GPTQ).
#pragma once

#include <cstddef>
#include <span>

#include "quant/second_moments.h"

namespace cria::quant {

/// Encodes rows [count, inputs.columns()] of weights to 18 bytes for each 32 columns. Rows that encode_q4_0 cannot
/// store stay as it leaves them. Memory: 8 rows of floats, five times.
void encode_q4_0_for(const SecondMoments& inputs, std::span<const float> rows, std::byte* out);

}  // namespace cria::quant
