// f16 and bf16: every bit pattern decodes to its number, and encoding takes the nearest.
#include "quant/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cria::quant {
namespace {

/// The number of a pattern by the definition of IEEE 754: sign, exponent with a bias, mantissa.
double number(uint32_t bits, int mantissa_bits, int bias) {
  const auto mantissa = static_cast<double>(bits & ((1U << mantissa_bits) - 1));
  const auto exponent = static_cast<int>((bits & 0x7FFFU) >> mantissa_bits);
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  if (exponent == 2 * bias + 1) return mantissa == 0 ? sign * INFINITY : std::nan("");
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + std::ldexp(1, mantissa_bits), exponent - bias - mantissa_bits);
}

struct Format {
  const char* name;
  int mantissa_bits;
  int bias;
  float (*decode)(uint16_t);
  uint16_t (*encode)(float);

  [[nodiscard]] uint32_t infinity() const { return 0x7FFFU >> mantissa_bits << mantissa_bits; }
};

class Halves : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Quant, Halves,
                         testing::Values(Format{"f16", 10, 15, f16_to_f32, f32_to_f16},
                                         Format{"bf16", 7, 127, bf16_to_f32, f32_to_bf16}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Halves, EveryPatternDecodesToItsNumberAndBack) {
  const Format& format = GetParam();
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = format.decode(half);
    const double right = number(bits, format.mantissa_bits, format.bias);
    if (std::isnan(right)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(format.decode(format.encode(value)))) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), right) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000U) != 0) << bits;
    ASSERT_EQ(format.encode(value), half) << bits;
  }
}

TEST_P(Halves, EncodingTakesTheNearestAndOfTwoTheEven) {
  const Format& format = GetParam();
  // The middle of two neighbours is exact in f32 for f16; for bf16 it is one bit more of the same mantissa.
  for (uint32_t bits = 0; bits + 1 < format.infinity(); ++bits) {
    const double low = number(bits, format.mantissa_bits, format.bias);
    const double high = number(bits + 1, format.mantissa_bits, format.bias);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
    for (const uint32_t sign : {0U, 0x8000U}) {
      const float signed_middle = sign == 0 ? middle : -middle;
      const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
      ASSERT_EQ(format.encode(signed_middle), sign | even) << bits;
      ASSERT_EQ(format.encode(std::nextafter(signed_middle, 0.0F)), sign | bits) << bits;
      ASSERT_EQ(format.encode(std::nextafter(signed_middle, sign == 0 ? INFINITY : -INFINITY)), sign | (bits + 1))
          << bits;
    }
  }
}

TEST_P(Halves, BeyondTheLargestIsInfinityAndNanStaysNan) {
  const Format& format = GetParam();
  const uint32_t infinity = format.infinity();
  const double largest = number(infinity - 1, format.mantissa_bits, format.bias);
  const double step = largest - number(infinity - 2, format.mantissa_bits, format.bias);
  const auto first_beyond = static_cast<float>(largest + step / 2);  // rounds away: the infinity is the even one
  EXPECT_EQ(format.encode(first_beyond), infinity);
  EXPECT_EQ(format.encode(-first_beyond), infinity | 0x8000U);
  EXPECT_EQ(format.encode(std::nextafter(first_beyond, 0.0F)), infinity - 1);
  EXPECT_EQ(format.encode(INFINITY), infinity);
  for (const uint32_t bits : {0x7F800001U, 0x7FC00000U, 0x7FFFFFFFU, 0xFF800001U}) {
    EXPECT_TRUE(std::isnan(format.decode(format.encode(std::bit_cast<float>(bits))))) << bits;
  }
}

}  // namespace
}  // namespace cria::quant
