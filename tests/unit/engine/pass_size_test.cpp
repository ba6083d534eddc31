// Passes through a prompt grow and shrink with what the device shows.
#include "engine/pass_size.h"

#include <gtest/gtest.h>

#include "model/shapes.h"

namespace cria::engine {
namespace {

/// A device with a rate of its own: a pass takes as long as its work, and a bit.
double seconds_of(const model::ModelConfig& config, uint32_t tokens, uint32_t position, double rate) {
  const double layer =
      config.hidden_size * (2.0 * config.q_size() + 2.0 * config.kv_size() + 3.0 * config.intermediate_size);
  const double attention = 4.0 * config.q_size() * (position + tokens / 2.0);
  return 0.001 + tokens * config.num_layers * (2 * layer + attention) / rate;
}

/// Reads a prompt and returns the longest pass after the first ones.
double longest_pass(const model::ModelConfig& config, uint32_t length, double rate, uint32_t& last_count) {
  PassSize size(config, 512);
  double longest = 0;
  for (uint32_t position = 0; position < length;) {
    const uint32_t count = std::min(size.tokens(position), length - position);
    const double seconds = seconds_of(config, count, position, rate);
    size.observe(count, position, seconds);
    longest = std::max(longest, seconds);
    position += count;
    last_count = size.tokens(position);
  }
  return longest;
}

TEST(PassSize, GrowsToTheMostOnAFastDevice) {
  const model::ModelConfig config = model::parse_shape("llama-8b").value();
  uint32_t count = 0;
  EXPECT_LT(longest_pass(config, 4096, 1e14, count), 0.5);
  EXPECT_EQ(count, 512U);
  EXPECT_LE(PassSize(config, 512).tokens(0), 16U) << "nothing is known of the device yet";
  EXPECT_EQ(PassSize(config, 5).tokens(0), 5U);
}

TEST(PassSize, StaysShortOnASlowDevice) {
  const model::ModelConfig config = model::parse_shape("llama-1.1b").value();
  uint32_t count = 0;
  EXPECT_LT(longest_pass(config, 2048, 3e11, count), 0.6);
  EXPECT_GE(count, 32U);
  EXPECT_LT(count, 128U);
}

TEST(PassSize, ShrinksAsTheContextGrows) {
  const model::ModelConfig config = model::parse_shape("llama-1.1b").value();
  PassSize size(config, 512);
  size.observe(64, 0, seconds_of(config, 64, 0, 2.4e12));
  EXPECT_EQ(size.tokens(0), 512U);
  EXPECT_LT(size.tokens(100'000), 128U);
  EXPECT_GE(size.tokens(10'000'000), 16U);
}

TEST(PassSize, ShrinksWhereThePassesTakeTooLong) {
  const model::ModelConfig config = model::parse_shape("llama-1.1b").value();
  PassSize size(config, 512);
  size.observe(64, 0, 0.001);
  ASSERT_EQ(size.tokens(0), 512U);
  size.observe(512, 0, 2.0);  // the device has grown hot, or others use it too
  EXPECT_EQ(size.tokens(512), 64U);
}

}  // namespace
}  // namespace cria::engine
