// Blocks of int8 and int4: what encoding loses is bounded, and what cannot be stored is told by a scale that is NaN.
#include "quant/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "quant/float16.h"

namespace cria::quant {
namespace {

/// f16 keeps 11 bits: rounding a normal number moves it by at most this share.
constexpr float kF16Error = 0x1p-11F;

struct Encoded {
  float scale = 0;
  std::vector<int8_t> integers;
  [[nodiscard]] float value(size_t i) const { return scale * static_cast<float>(integers[i]); }
};

using Encoder = uint16_t (*)(std::span<const float>, std::span<int8_t>);

Encoded encode(Encoder encoder, const std::vector<float>& values) {
  Encoded encoded{.scale = 0, .integers = std::vector<int8_t>(values.size(), int8_t{99})};
  encoded.scale = f16_to_f32(encoder(values, encoded.integers));
  return encoded;
}

std::vector<float> random_block(size_t columns, uint32_t seed, float size = 1) {
  std::mt19937 random(seed);  // the standard fixes its numbers
  std::vector<float> values(columns);
  for (float& value : values) value = size * (static_cast<float>(random() >> 8) * 0x1p-23F - 1);
  return values;
}

float largest(const std::vector<float>& values) {
  return std::abs(*std::ranges::max_element(values, {}, [](float value) { return std::abs(value); }));
}

double squared_error(const std::vector<float>& values, const Encoded& encoded) {
  double error = 0;
  for (size_t i = 0; i < values.size(); ++i) error += std::pow(double{values[i]} - double{encoded.value(i)}, 2);
  return error;
}

/// Whole blocks of each length, and last blocks that are not full.
constexpr size_t kColumns[] = {1, 2, 31, 32, 33, 63, 64, 100, 127, 128};

struct NamedEncoder {
  const char* name;
  Encoder encoder;
};

class BothTypes : public testing::TestWithParam<NamedEncoder> {
 protected:
  static Encoder encoder() { return GetParam().encoder; }
};
INSTANTIATE_TEST_SUITE_P(Quant, BothTypes,
                         testing::Values(NamedEncoder{"int8", encode_int8_block},
                                         NamedEncoder{"int4", encode_int4_block}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(BothTypes, ZerosStayZeros) {
  for (const size_t columns : kColumns) {
    const Encoded encoded = encode(encoder(), std::vector<float>(columns, 0.0F));
    EXPECT_EQ(encoded.scale, 0);
    EXPECT_EQ(encoded.integers, std::vector<int8_t>(columns, int8_t{0}));
  }
}

TEST_P(BothTypes, OneElementAloneIsKeptToF16) {
  for (const float value : {0.75F, -0.75F, 1.0F, -3e4F, 0.01F}) {
    for (const size_t columns : kColumns) {
      std::vector<float> values(columns, 0.0F);
      values[columns / 2] = value;
      const Encoded encoded = encode(encoder(), values);
      EXPECT_NEAR(encoded.value(columns / 2), value, kF16Error * std::abs(value));
      for (size_t i = 0; i < columns; ++i) {
        EXPECT_EQ(encoded.integers[i] != 0, i == columns / 2);
      }
    }
  }
}

TEST_P(BothTypes, WhatCannotBeStoredIsTold) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY, 1e9F, -3e38F}) {
    std::vector<float> values = random_block(32, 1);
    values[7] = bad;
    const Encoded encoded = encode(encoder(), values);
    EXPECT_TRUE(std::isnan(encoded.scale)) << bad;
    EXPECT_EQ(encoded.integers, std::vector<int8_t>(32, int8_t{0})) << bad;
  }
}

TEST_P(BothTypes, ValuesTooSmallForAScaleBecomeZeros) {
  const Encoded encoded = encode(encoder(), random_block(32, 2, 1e-9F));
  EXPECT_EQ(encoded.scale, 0);
  EXPECT_EQ(encoded.integers, std::vector<int8_t>(32, int8_t{0}));
}

TEST(Int8Blocks, EveryValueIsWithinHalfAStep) {
  for (const size_t columns : kColumns) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> values = random_block(columns, seed, seed % 2 == 0 ? 1.0F : 300.0F);
      const Encoded encoded = encode(encode_int8_block, values);
      const float exact = largest(values) / 127;
      EXPECT_NEAR(encoded.scale, exact, kF16Error * exact);
      for (size_t i = 0; i < columns; ++i) {
        EXPECT_GE(encoded.integers[i], -127);
        // A scale that was rounded down leaves the largest up to 127 * 2^-11 steps short.
        EXPECT_LE(std::abs(values[i] - encoded.value(i)), (0.5F + 127 * kF16Error) * encoded.scale);
      }
    }
  }
}

TEST(Int8Blocks, WhatWasDecodedIsEncodedTheSame) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::vector<float> values = random_block(64, seed);
    values[5] = 1.0F;  // so that an integer is 127
    const Encoded first = encode(encode_int8_block, values);
    for (size_t i = 0; i < values.size(); ++i) values[i] = first.value(i);
    const Encoded second = encode(encode_int8_block, values);
    EXPECT_EQ(second.integers, first.integers);
    EXPECT_EQ(second.scale, first.scale);
  }
}

/// The definition, where it is hardest to meet: f64 holds the quotients exactly.
TEST(Int8Blocks, TiesGoToTheEvenIntegerWhateverTheScale) {
  for (uint32_t bits = 1; bits < 0x7C00; ++bits) {
    const float scale = f16_to_f32(static_cast<uint16_t>(bits));
    std::vector<float> values = {127 * scale};
    for (uint32_t i = 1; i < 32; ++i) {
      const float middle = (static_cast<float>((bits + i * 37) % 254) - 126.5F) * scale;
      values.push_back(i % 3 == 0 ? middle : std::nextafter(middle, i % 3 == 1 ? INFINITY : -INFINITY));
    }
    const Encoded encoded = encode(encode_int8_block, values);
    ASSERT_EQ(encoded.scale, scale);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(encoded.integers[i], std::nearbyint(double{values[i]} / scale)) << values[i] << " / " << scale;
    }
  }
}

TEST(Int8Blocks, TheScaleIsTheNearestF16) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto even = static_cast<uint16_t>(bits + bits % 2);
    const float middle =
        127 * (f16_to_f32(static_cast<uint16_t>(bits)) + f16_to_f32(static_cast<uint16_t>(bits + 1))) / 2;
    ASSERT_EQ(encode(encode_int8_block, {std::nextafter(middle, 0.0F)}).scale, f16_to_f32(static_cast<uint16_t>(bits)));
    ASSERT_EQ(encode(encode_int8_block, {middle}).scale, f16_to_f32(even)) << middle;
    ASSERT_EQ(encode(encode_int8_block, {std::nextafter(middle, INFINITY)}).scale,
              f16_to_f32(static_cast<uint16_t>(bits + 1)));
  }
}

TEST(Int8Blocks, TheLargestValueIsThatOfF16) {
  EXPECT_TRUE(std::isfinite(encode(encode_int8_block, {127 * 65504.0F}).scale));
  EXPECT_TRUE(std::isnan(encode(encode_int8_block, {127 * 65520.0F}).scale));  // rounds to infinity
}

/// The error of a scale with its nearest integers.
double error_of_scale(const std::vector<float>& values, float scale) {
  double error = 0;
  for (const float value : values) {
    const float integer = std::clamp(std::nearbyint(value / scale), -8.0F, 7.0F);
    error += std::pow(double{value} - double{scale} * double{integer}, 2);
  }
  return error;
}

TEST(Int4Blocks, NoScaleOfTheListIsBetter) {
  for (const size_t columns : kColumns) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> values = random_block(columns, seed);
      const Encoded encoded = encode(encode_int4_block, values);
      const float extreme = *std::ranges::max_element(values, {}, [](float value) { return std::abs(value); });
      for (int k = 0; k < 9; ++k) {
        const float scale = f16_to_f32(f32_to_f16(extreme / -(7 + 0.25F * static_cast<float>(k))));
        // The encoder compares sums of up to 128 terms in f32: each is off by at most 130 ulp.
        EXPECT_LE(squared_error(values, encoded), error_of_scale(values, scale) * (1 + 260 * 0x1p-23) + 1e-12);
      }
      for (const int8_t integer : encoded.integers) {
        EXPECT_GE(integer, -8);
        EXPECT_LE(integer, 7);
      }
    }
  }
}

TEST(Int4Blocks, EveryValueIsWithinAStep) {
  // The largest scale is extreme / 7, half a step of which is extreme / 14; the end of the short side, 7 scales of
  // at least extreme / 9, is 2 / 9 of extreme away from it.
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> values = random_block(32, seed);
    const Encoded encoded = encode(encode_int4_block, values);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LE(std::abs(values[i] - encoded.value(i)), largest(values) * (2.0F / 9 + 0.01F));
    }
  }
}

TEST(Int4Blocks, AScaleOfLeastSquaresBeatsTheList) {
  double refined = 0;
  double listed = 0;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> values = random_block(32, seed);
    const float extreme = *std::ranges::max_element(values, {}, [](float value) { return std::abs(value); });
    double best = INFINITY;
    for (int k = 0; k < 9; ++k)
      best = std::min(best, error_of_scale(values, extreme / -(7 + 0.25F * static_cast<float>(k))));
    listed += best;
    refined += squared_error(values, encode(encode_int4_block, values));
  }
  EXPECT_LT(refined, listed);
}

TEST(Int4Blocks, MultiplesOfAScaleAreKeptExactly) {
  std::vector<float> values(32);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.125F * (static_cast<float>(i % 16) - 8);
  const Encoded encoded = encode(encode_int4_block, values);
  EXPECT_EQ(encoded.scale, 0.125F);  // extreme / -8
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(encoded.value(i), values[i]);
}

TEST(Int4Blocks, TheLargestValueIsThatOfF16) {
  EXPECT_TRUE(std::isfinite(encode(encode_int4_block, {9 * 65504.0F}).scale));
  EXPECT_TRUE(std::isnan(encode(encode_int4_block, {9.1F * 65504.0F}).scale));
}

TEST(Int4Units, HoldColumnJAndJPlus16InOneByte) {
  std::vector<int8_t> integers(kUnitColumns);
  for (size_t i = 0; i < integers.size(); ++i) integers[i] = static_cast<int8_t>(static_cast<int>(i * 7 % 16) - 8);
  std::vector<uint8_t> bytes(16);
  pack_int4_unit(std::span<const int8_t, kUnitColumns>(integers), std::span<uint8_t, 16>(bytes));
  for (size_t j = 0; j < bytes.size(); ++j) {
    EXPECT_EQ(bytes[j] & 15, integers[j] + 8);
    EXPECT_EQ(bytes[j] >> 4, integers[j + 16] + 8);
  }
  std::vector<int8_t> again(kUnitColumns);
  unpack_int4_unit(std::span<const uint8_t, 16>(bytes), std::span<int8_t, kUnitColumns>(again));
  EXPECT_EQ(again, integers);
}

}  // namespace
}  // namespace cria::quant
