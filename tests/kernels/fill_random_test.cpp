// Made-up weights: the kernel stores exactly the CPU's numbers, in every encoding and however a matrix is cut.
#include "kernels/fill_random.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "quant/float16.h"

namespace cria::kernels {
namespace {

gpu::Device open_device(uint64_t binding_limit = 0) {
  gpu::DeviceOptions options;
  options.binding_limit = binding_limit;
  auto device = gpu::Device::open(options);
  if (!device) ADD_FAILURE() << device.error().message();
  CRIA_CHECK(device.has_value());
  return *std::move(device);
}

/// The words of a buffer of `words` words after it was filled.
std::vector<uint32_t> fill(gpu::Device& device, Encoding encoding, size_t words, uint32_t seed, uint32_t first) {
  auto op = FillRandom::create(device, encoding);
  CRIA_CHECK(op.has_value());
  auto buffer = device.create_buffer("filled", words * 4, gpu::MemoryKind::kScratch);
  CRIA_CHECK(buffer.has_value());
  gpu::Recorder recorder = device.record("fill test");
  op->record(recorder, *buffer, seed, first);
  EXPECT_TRUE(recorder.submit());
  auto bytes = device.read(*buffer, 0, words * 4);
  CRIA_CHECK(bytes.has_value());
  std::vector<uint32_t> filled(words);
  std::memcpy(filled.data(), bytes->data(), bytes->size());
  return filled;
}

/// What a word of an encoding holds, from its element on.
uint32_t expected_word(Encoding encoding, uint32_t seed, uint32_t element) {
  const float low = random_weight(seed, element);
  const float high = random_weight(seed, element + 1);
  switch (encoding) {
    case Encoding::kF32: return std::bit_cast<uint32_t>(low);
    case Encoding::kF16: return quant::f32_to_f16(low) | (uint32_t{quant::f32_to_f16(high)} << 16);
    case Encoding::kBF16: return quant::f32_to_bf16(low) | (uint32_t{quant::f32_to_bf16(high)} << 16);
    case Encoding::kBits: return random_word(seed, element);
  }
  return 0;
}

constexpr Encoding kEncodings[] = {Encoding::kF32, Encoding::kF16, Encoding::kBF16, Encoding::kBits};

TEST(FillRandom, StoresTheNumbersOfTheCpu) {
  gpu::Device device = open_device();
  // One vector of words, one more and one fewer than a workgroup's, and more than a row of workgroups.
  for (const size_t vec4s : {1, 255, 257, 20000}) {
    for (const Encoding encoding : kEncodings) {
      for (const uint32_t first : {0U, 1000U, 0xFFFFFF00U}) {  // the last wraps around
        const std::vector<uint32_t> words = fill(device, encoding, 4 * vec4s, 7, first);
        for (uint32_t i = 0; i < words.size(); ++i) {
          ASSERT_EQ(words[i], expected_word(encoding, 7, first + i * elements_per_word(encoding)))
              << "word " << i << " of " << words.size() << ", encoding " << static_cast<int>(encoding);
        }
      }
    }
  }
}

TEST(FillRandom, WritesNothingBehindItsBuffer) {
  // The buffer is bound whole: what could be overwritten is another buffer made at the same time.
  gpu::Device device = open_device();
  auto neighbour = device.create_buffer("neighbour", 1024, gpu::MemoryKind::kScratch);
  ASSERT_TRUE(neighbour);
  fill(device, Encoding::kBits, 4, 1, 0);
  auto bytes = device.read(*neighbour, 0, 1024);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(*bytes, std::vector<std::byte>(1024));
}

TEST(FillRandom, EveryValueIsExactInEveryFloatType) {
  for (uint32_t element = 0; element < 10000; ++element) {
    const float value = random_weight(3, element);
    EXPECT_EQ(quant::f16_to_f32(quant::f32_to_f16(value)), value);
    EXPECT_EQ(quant::bf16_to_f32(quant::f32_to_bf16(value)), value);
  }
}

TEST(FillRandom, WeightsAreSpreadLikeTrainedOnes) {
  constexpr uint32_t kCount = 1U << 16;
  double sum = 0;
  double squares = 0;
  std::set<uint32_t> words;
  for (uint32_t element = 0; element < kCount; ++element) {
    const double value = random_weight(1, element);
    sum += value;
    squares += value * value;
    words.insert(random_word(1, element));
  }
  // Four uniform whole numbers below 64: variance 4 (64^2 - 1) / 12.
  const double deviation = std::sqrt(4 * 4095 / 12.0) / 2048;
  const double mean = sum / kCount;
  EXPECT_LT(std::abs(mean), 5 * deviation / std::sqrt(kCount));  // five standard errors
  // The variance of a variance of N nearly normal numbers is about 2 / N of its square.
  EXPECT_NEAR(squares / kCount / (deviation * deviation), 1, 5 * std::sqrt(2.0 / kCount));
  // The hash of different elements differs but for a birthday's chance: 2^32 / 2 pairs give about half a clash.
  EXPECT_GT(words.size(), kCount - 10);
}

TEST(FillRandom, SeedsGiveDifferentNumbers) {
  uint32_t same = 0;
  for (uint32_t element = 0; element < 10000; ++element) same += random_word(1, element) == random_word(2, element);
  EXPECT_LE(same, 1U);
}

}  // namespace
}  // namespace cria::kernels
