// Rows of floats to rows of Q8_0 and Q4_0 blocks (quant/q8_0.h, quant/q4_0.h).
#pragma once

#include <cstddef>
#include <span>

namespace cria::quant {

/// values.size() is a multiple of 32; `out` takes 34 bytes for each block. Scales as in encode_int8_block.
void encode_q8_0(std::span<const float> values, std::byte* out);
/// The same with 18 bytes for each block; scales are chosen by squared error (encode_int4_block).
void encode_q4_0(std::span<const float> values, std::byte* out);

}  // namespace cria::quant
