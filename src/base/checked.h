// Arithmetic on sizes that come from files: overflow is a value, never a wrap.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

namespace cria {

/// a * b, or nothing where the product does not fit in 64 bits.
[[nodiscard]] constexpr std::optional<uint64_t> checked_multiply(uint64_t a, uint64_t b) {
  if (a != 0 && b > std::numeric_limits<uint64_t>::max() / a) return std::nullopt;
  return a * b;
}

/// a + b, or nothing where the sum does not fit in 64 bits.
[[nodiscard]] constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  if (b > std::numeric_limits<uint64_t>::max() - a) return std::nullopt;
  return a + b;
}

/// The product of all dimensions (1 for none), or nothing where a partial product overflows.
/// A zero among them does not hide an overflow of the others.
[[nodiscard]] constexpr std::optional<uint64_t> checked_product(std::span<const uint64_t> dimensions) {
  uint64_t product = 1;
  bool has_zero = false;
  for (uint64_t dimension : dimensions) {
    if (dimension == 0) {
      has_zero = true;
      continue;
    }
    auto next = checked_multiply(product, dimension);
    if (!next) return std::nullopt;
    product = *next;
  }
  return has_zero ? 0 : product;
}

/// value / divisor, rounded up.
template <typename T>
[[nodiscard]] constexpr T divide_up(T value, T divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

/// The smallest multiple of `multiple` that is not below `value`.
template <typename T>
[[nodiscard]] constexpr T round_up(T value, T multiple) {
  return divide_up(value, multiple) * multiple;
}

}  // namespace cria
