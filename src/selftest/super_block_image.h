// A matrix in super-blocks as buffers hold it, on the CPU: made-up blocks of a file, with the values that the file's
// decoder gives them.
#pragma once

#include "selftest/harness.h"

namespace cria::selftest {

/// The two planes (layout: quant/super_blocks.h), each with a tail of poison.
struct SuperBlockImage {
  std::vector<uint32_t> integers, scales;
};

/// Makes up blocks of a K-quant for a table whose columns are whole super-blocks, and replaces its values by theirs.
/// The table's values decide which: each block has random bits, or all integers and scales at the ends of their ranges.
/// `magnitudes` gets, for each weight, the magnitudes whose rounding it suffers in f16: with value = q s - o, and c in
/// the middle of the integers, those of (q - c) s, twice, of c s - o and of the value are at most (3 c + q) |s| + 2
/// |o|; without offsets, twice |q s|. (Factors are from 2^-8 on, so that what f16 may flush is below 2^-10 of that.)
SuperBlockImage make_up_super_blocks(kernels::WeightType type, Table& table, Table& magnitudes);

}  // namespace cria::selftest
