// GGUF's blocks decode to what llama.cpp's decoder says, and our encoders write what decodes to near what they were
// given.
#include "quant/block_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "quant/block_encode.h"

namespace cria::quant {
namespace {

TEST(BlockFormats, DecodeToWhatTheReferenceSays) {
  std::ifstream stream(CRIA_SOURCE_DIR "/tests/unit/quant/ggml_blocks.bin", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  size_t at = 0;
  size_t formats = 0;
  while (at < file.size()) {
    const std::string name = file.c_str() + at;
    SCOPED_TRACE(name);
    const BlockFormat* format = find_block_format(name);
    ASSERT_NE(format, nullptr);
    at += 8;
    std::vector<float> decoded(256);
    std::vector<float> expected(256);
    const size_t blocks = 256 / format->elements;
    format->decode(reinterpret_cast<const std::byte*>(file.data()) + at, blocks, decoded.data());
    at += blocks * format->bytes;
    std::memcpy(expected.data(), file.data() + at, 1024);
    at += 1024;
    // Sums and products of three numbers, in another order perhaps: a few units in the last place of the larger terms.
    float largest = 0;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < 256; ++i) EXPECT_NEAR(decoded[i], expected[i], largest * 4e-7F) << "weight " << i;
    EXPECT_GT(largest, 0.01F);
    ++formats;
  }
  EXPECT_EQ(formats, block_formats().size());
}

TEST(BlockFormats, AreFoundByName) {
  EXPECT_EQ(find_block_format("Q4_K")->elements, 256U);
  EXPECT_EQ(find_block_format("Q4_K")->bytes, 144U);
  EXPECT_EQ(find_block_format("Q9_X"), nullptr);
}

/// Each weight is within half a step of what was given: of Q8_0 a 127th of the block's largest, of Q4_0 at worst its
/// seventh (the scale is chosen by the error of the whole block).
TEST(BlockFormats, EncodersAreCloseToWhatTheyAreGiven) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> values(4096);
  for (float& value : values) value = normal(random);
  for (const auto& [name, encode, steps] : {std::tuple("Q8_0", &encode_q8_0, 126.0F), {"Q4_0", &encode_q4_0, 7.0F}}) {
    const BlockFormat* format = find_block_format(name);
    std::vector<std::byte> bytes(values.size() / 32 * format->bytes);
    encode(values, bytes.data());
    std::vector<float> back(values.size());
    format->decode(bytes.data(), values.size() / 32, back.data());
    for (size_t block = 0; block < values.size() / 32; ++block) {
      float largest = 0;
      for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(values[block * 32 + i]));
      for (size_t i = 0; i < 32; ++i) {
        EXPECT_NEAR(back[block * 32 + i], values[block * 32 + i], largest / steps) << name;
      }
    }
  }
}

}  // namespace
}  // namespace cria::quant
