// Rows, which are encoded and decoded many numbers at a time, are what they are one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "quant/block_encode.h"
#include "quant/blocks.h"
#include "quant/float16.h"
#include "quant/float16_rows.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

namespace cria::quant {
namespace {

TEST(Float16Rows, AllNumbersAreThoseOfOneByOne) {
  std::vector<uint16_t> bits(0x10000 + 37);  // not whole pieces
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<std::byte> file(1 + 2 * bits.size());  // at an odd address
  std::memcpy(file.data() + 1, bits.data(), 2 * bits.size());
  std::vector<float> halves(bits.size());
  std::vector<float> brains(bits.size());
  f16_to_f32(file.data() + 1, halves);
  bf16_to_f32(file.data() + 1, brains);
  for (size_t i = 0; i < bits.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(halves[i]), std::bit_cast<uint32_t>(f16_to_f32(bits[i]))) << bits[i];
    EXPECT_EQ(std::bit_cast<uint32_t>(brains[i]), std::bit_cast<uint32_t>(bf16_to_f32(bits[i]))) << bits[i];
  }
}

TEST(Lanes, AreRoundedToF16LikeOneNumber) {
  std::mt19937 random(1);
  std::vector<float> values = {0.0F, -0.0F, 65504, 65519.9F, 65520, -65520, 1e30F, 0x1p-24F, 0x1p-25F, 0x1.8p-25F};
  for (const uint32_t bits : {0x7F800001U, 0x7FFFFFFFU, 0xFFFFF000U, 0xFFFFFFFFU}) {
    values.push_back(std::bit_cast<float>(bits));  // NaN
  }
  for (int i = 0; i < 100'000; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  for (const float value : values) {
    Lanes lanes;
    fill(lanes, value);
    round_to_f16(lanes);
    const float expected = f16_to_f32(f32_to_f16(value));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(lanes[3]));
    } else {
      EXPECT_EQ(lanes[3], expected) << value;
    }
  }
}

/// Rows of any number of blocks, some of which cannot be stored.
std::vector<float> row_of(size_t blocks, std::mt19937& random) {
  std::vector<float> row(32 * blocks);
  for (float& value : row) value = static_cast<float>(random() >> 8) * 0x1p-23F - 1;
  for (size_t b = 0; b < blocks; ++b) {
    const float size = b % 5 == 0 ? 1e-7F : b % 5 == 1 ? 3e4F : 1;
    for (size_t i = 0; i < 32; ++i) row[32 * b + i] *= b % 7 == 6 ? 0 : size;
  }
  if (blocks > 2) row[32 * 2 + 5] = NAN;
  if (blocks > 9) row[32 * 9] = -INFINITY;
  if (blocks > 10) row[32 * 10 + 31] = 1e7F;
  return row;
}

TEST(RowEncode, BlocksAreThoseOfOneByOne) {
  std::mt19937 random(2);
  for (const size_t blocks : {1U, 2U, 7U, 8U, 9U, 16U, 27U}) {
    const std::vector<float> row = row_of(blocks, random);
    std::vector<std::byte> four(blocks * sizeof(BlockQ4_0));
    std::vector<std::byte> eight(blocks * sizeof(BlockQ8_0));
    encode_q4_0(row, four.data());
    encode_q8_0(row, eight.data());
    for (size_t b = 0; b < blocks; ++b) {
      SCOPED_TRACE(testing::Message() << "block " << b << " of " << blocks);
      const std::span<const float> values(row.data() + 32 * b, 32);
      int8_t integers[32];
      BlockQ4_0 expected4{.scale = encode_int4_block(values, integers), .halves = {}};
      pack_int4_unit(integers, expected4.halves);
      EXPECT_EQ(std::memcmp(four.data() + b * sizeof(expected4), &expected4, sizeof(expected4)), 0);
      BlockQ8_0 expected8{.scale = encode_int8_block(values, integers), .integers = {}};
      std::memcpy(expected8.integers, integers, sizeof(integers));
      EXPECT_EQ(std::memcmp(eight.data() + b * sizeof(expected8), &expected8, sizeof(expected8)), 0);
    }
  }
}

}  // namespace
}  // namespace cria::quant
