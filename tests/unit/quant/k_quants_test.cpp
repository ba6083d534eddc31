// The planes of super-blocks hold what the file's blocks do, and encoding them loses little.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "quant/block_formats.h"
#include "quant/k_quant_encode.h"
#include "quant/super_blocks.h"

namespace cria::quant {
namespace {

template <typename Block>
Block random_block(std::mt19937& random) {
  Block block;
  auto* bytes = reinterpret_cast<unsigned char*>(&block);
  for (size_t i = 0; i < sizeof(block); ++i) bytes[i] = static_cast<unsigned char>(random());
  block.scale = f32_to_f16(0.01F);
  if constexpr (requires { block.offset; }) block.offset = f32_to_f16(-0.02F);
  return block;
}

template <size_t words>
uint32_t bits(const std::array<uint32_t, words>& plane, size_t first, uint32_t count) {
  return (plane[first / 32] >> (first % 32)) & ((1U << count) - 1);
}

/// The low four bits of a column, by the layout in super_blocks.h.
template <size_t words>
uint32_t low_bits(const std::array<uint32_t, words>& plane, size_t column) {
  const size_t in_unit = column % 32;
  return bits(plane, column / 32 * 128 + in_unit % 16 * 8 + in_unit / 16 * 4, 4);
}

/// A number from integer, scale and offset of a unit, as Q4_K and Q5_K are put together.
float value_of(const std::array<uint32_t, 4>& scales, size_t unit, uint32_t integer) {
  const uint32_t byte = bits(scales, 32 + unit * 8, 8);
  const uint32_t offset = bits(scales, 96 + unit * 4, 4) | byte >> 6U << 4U;
  const float scale_factor = f16_to_f32(static_cast<uint16_t>(scales[0]));
  const float offset_factor = f16_to_f32(static_cast<uint16_t>(scales[0] >> 16U));
  return scale_factor * static_cast<float>(byte & 63U) * static_cast<float>(integer) -
         offset_factor * static_cast<float>(offset);
}

float value_of(const SuperBlockPlanes<32, 4>& planes, size_t column) {
  return value_of(planes.scales, column / 32, low_bits(planes.integers, column));
}

float value_of(const SuperBlockPlanes<40, 4>& planes, size_t column) {
  const size_t in_unit = column % 32;
  const uint32_t fifth = bits(planes.integers, 1024 + column / 32 * 32 + in_unit % 4 * 8 + in_unit / 4, 1);
  return value_of(planes.scales, column / 32, low_bits(planes.integers, column) | fifth << 4U);
}

float value_of(const SuperBlockPlanes<48, 5>& planes, size_t column) {
  const size_t in_group = column % 16;
  const uint32_t high = bits(planes.integers, 1024 + column / 16 * 32 + in_group % 4 * 8 + in_group / 4 * 2, 2);
  const uint32_t six = low_bits(planes.integers, column) | high << 4U;
  const int integer = six < 32 ? static_cast<int>(six) : static_cast<int>(six) - 64;
  const auto scale = static_cast<int8_t>(bits(planes.scales, column / 16 * 8, 8));
  return f16_to_f32(static_cast<uint16_t>(planes.scales[4])) * static_cast<float>(scale) * static_cast<float>(integer);
}

template <typename Block>
void expect_planes_hold_the_block() {
  std::mt19937 random(1);
  for (int i = 0; i < 50; ++i) {
    const auto block = random_block<Block>(random);
    const auto planes = planes_of(block);
    std::array<float, 256> expected{};
    decode(block, expected);
    for (size_t column = 0; column < 256; ++column) {
      ASSERT_EQ(value_of(planes, column), expected[column]) << "column " << column;
    }
  }
}

TEST(SuperBlocks, PlanesHoldTheBlocksOfTheFile) {
  expect_planes_hold_the_block<BlockQ4_K>();
  expect_planes_hold_the_block<BlockQ5_K>();
  expect_planes_hold_the_block<BlockQ6_K>();
}

TEST(SuperBlocks, SixBitPairsComeBack) {
  uint8_t scales[12] = {};
  for (uint32_t g = 0; g < 8; ++g) put_six_bit_pair(63 - 7 * g, 5 + 8 * g, g, scales);
  for (uint32_t g = 0; g < 8; ++g) {
    EXPECT_EQ(six_bit_pair(scales, g).scale, 63 - 7 * g);
    EXPECT_EQ(six_bit_pair(scales, g).offset, 5 + 8 * g);
  }
}

struct Type {
  const char* name;
  uint32_t group;
  float steps;  // from the lowest integer to the highest
};
constexpr Type kTypes[] = {{"Q4_K", 32, 15}, {"Q5_K", 32, 31}, {"Q6_K", 16, 63}};

std::vector<float> encoded(const BlockFormat& format, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() / 256 * format.bytes);
  format.encode(values, bytes.data());
  std::vector<float> back(values.size());
  format.decode(bytes.data(), values.size() / 256, back.data());
  return back;
}

std::vector<float> normal_values(float mean) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(mean, 0.02F);
  std::vector<float> values(16384);
  for (float& value : values) value = normal(random);
  return values;
}

double root_error(const std::vector<float>& values, const std::vector<float>& back) {
  double error = 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += std::pow(double{values[i]} - double{back[i]}, 2);
    squares += std::pow(double{values[i]}, 2);
  }
  return std::sqrt(error / squares);
}

class KQuantEncoders : public testing::TestWithParam<Type> {
 protected:
  const BlockFormat& format_ = *find_block_format(GetParam().name);
};
INSTANTIATE_TEST_SUITE_P(Types, KQuantEncoders, testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(info.param.name); });

/// The values rounded to the nearest of the steps between their extremes, with scales that are not rounded.
std::vector<float> nearest_steps(const Type& type, const std::vector<float>& values) {
  std::vector<float> rounded;
  for (size_t first = 0; first < values.size(); first += type.group) {
    const auto group = std::span(values).subspan(first, type.group);
    const auto [least, most] = std::ranges::minmax(group);
    const float largest = std::max(-least, most);
    const float low = type.group == 32 ? least : -largest;
    const float step = (type.group == 32 ? most - least : 2 * largest) / type.steps;
    for (const float value : group) rounded.push_back(low + step * std::round((value - low) / step));
  }
  return rounded;
}

TEST_P(KQuantEncoders, LoseLessThanRoundingToTheNearestStep) {
  const std::vector<float> values = normal_values(0);
  const std::vector<float> back = encoded(format_, values);
  const double simple = root_error(values, nearest_steps(GetParam(), values));
  EXPECT_LE(root_error(values, back), simple);
  // No weight is farther off than a step, of the range of its group and 0; a scale in 6 bits may be a 63rd too large.
  for (size_t first = 0; first < values.size(); first += GetParam().group) {
    const auto [least, most] = std::minmax_element(values.begin() + static_cast<ptrdiff_t>(first),
                                                   values.begin() + static_cast<ptrdiff_t>(first + GetParam().group));
    const float low = std::min(*least, 0.0F);
    const float high = std::max(*most, 0.0F);
    const float range = GetParam().group == 32 ? high - low : 2 * std::max(high, -low);
    for (size_t i = first; i < first + GetParam().group; ++i) {
      EXPECT_NEAR(back[i], values[i], 1.2F * range / GetParam().steps) << "weight " << i;
    }
  }
}

TEST_P(KQuantEncoders, KeepWhatABlockCanHold) {
  const std::vector<float> nothing(256, 0.0F);
  EXPECT_EQ(encoded(format_, nothing), nothing);
  std::vector<float> one = nothing;
  one[77] = -31;
  const std::vector<float> back = encoded(format_, one);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(back[i], one[i], 31 * 0x1p-10F) << i;
  // All alike, of either sign: the offset cannot be negative, the integers of a positive number are the highest.
  for (const float value : {-0.25F, 0.25F}) {
    for (const float weight : encoded(format_, std::vector<float>(256, value))) EXPECT_NEAR(weight, value, 1e-3F);
  }
  // As large as f16 allows, and as small.
  for (const float size : {1e4F, 1e-6F}) {
    std::vector<float> values = normal_values(0);
    for (float& value : values) value *= size;
    EXPECT_LE(root_error(values, encoded(format_, values)), size > 1 ? 1.5 / GetParam().steps : 1.0);
  }
}

TEST_P(KQuantEncoders, TellWhatTheyCannotHold) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), INFINITY, -INFINITY, 3e38F}) {
    std::vector<float> values(512, 0.5F);
    values[300] = bad;
    const std::vector<float> back = encoded(format_, values);
    for (size_t i = 0; i < 256; ++i) EXPECT_NEAR(back[i], 0.5F, 0.01F);
    for (size_t i = 256; i < 512; ++i) EXPECT_TRUE(std::isnan(back[i])) << bad;
  }
}

}  // namespace
}  // namespace cria::quant
