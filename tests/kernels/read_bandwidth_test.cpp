// The bandwidth kernel reads every word of its buffer exactly once, however many workgroups share the work.
#include "kernels/read_bandwidth.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "selftest/random.h"

namespace cria::kernels {
namespace {

std::vector<uint32_t> random_words(size_t count) {
  selftest::Random random("read_bandwidth");
  std::vector<uint32_t> words(count);
  for (uint32_t& word : words) word = random.next();
  return words;
}

constexpr uint32_t kSentinel = 0xa5a5a5a5;
constexpr uint32_t kSentinels = 64;

/// The sums that a run leaves behind. A sentinel behind them must stay.
std::vector<uint32_t> run(gpu::Device& device, const std::vector<uint32_t>& words, uint32_t workgroups) {
  auto op = ReadBandwidth::create(device);
  CRIA_CHECK(op.has_value());
  auto x = device.create_buffer("x", words.size() * 4, gpu::MemoryKind::kScratch);
  std::vector<uint32_t> sums(ReadBandwidth::invocations(workgroups) + kSentinels, kSentinel);
  auto target = device.create_buffer("sums", sums.size() * 4, gpu::MemoryKind::kScratch);
  CRIA_CHECK(x.has_value() && target.has_value());
  EXPECT_TRUE(device.write(*x, 0, std::as_bytes(std::span(words))));
  EXPECT_TRUE(device.write(*target, 0, std::as_bytes(std::span(sums))));
  gpu::Recorder recorder = device.record("bandwidth test");
  op->record(recorder, *x, *target, workgroups);
  EXPECT_TRUE(recorder.submit());
  auto bytes = device.read(*target, 0, sums.size() * 4);
  CRIA_CHECK(bytes.has_value());
  std::memcpy(sums.data(), bytes->data(), bytes->size());
  for (size_t i = sums.size() - kSentinels; i < sums.size(); ++i) EXPECT_EQ(sums[i], kSentinel);
  sums.resize(sums.size() - kSentinels);
  return sums;
}

TEST(ReadBandwidth, SumsEveryWordOnce) {
  auto device = gpu::Device::open({});
  ASSERT_TRUE(device) << device.error().message();
  // Fewer vectors than invocations; whole rounds of four reads and a rest; nothing but whole rounds.
  for (const size_t vec4s : {1, 255, 1024, 5 * 512 + 3, 8 * 512}) {
    const std::vector<uint32_t> words = random_words(4 * vec4s);
    const uint32_t total = std::accumulate(words.begin(), words.end(), 0U);
    for (const uint32_t workgroups : {1U, 2U, 7U}) {
      const std::vector<uint32_t> sums = run(*device, words, workgroups);
      EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), 0U), total) << vec4s << " vectors, " << workgroups;
      // Each invocation's own share: every (workgroups * 256)-th vector.
      uint32_t first = 0;
      for (size_t at = 0; at < vec4s; at += sums.size()) {
        first += words[4 * at] + words[4 * at + 1] + words[4 * at + 2] + words[4 * at + 3];
      }
      EXPECT_EQ(sums[0], first) << vec4s << " vectors, " << workgroups;
    }
  }
}

}  // namespace
}  // namespace cria::kernels
