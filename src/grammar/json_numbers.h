// Rules for numbers of JSON within bounds.
#pragma once

#include <cstdint>
#include <string>

namespace cria::grammar {

/// Numbers are written with so many digits at most where nothing else bounds them.
inline constexpr int64_t kMostWritten = 9'999'999'999'999'999;

/// Whole numbers from `least` to `most`, both included, as alternatives of the dialect. least <= most.
[[nodiscard]] std::string integers_between(int64_t least, int64_t most);

/// The same with a fraction, without an exponent.
[[nodiscard]] std::string numbers_between(int64_t least, int64_t most);

}  // namespace cria::grammar
