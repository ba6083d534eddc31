// Log-probabilities against their definition.
#include "engine/logprobs.h"

#include <gtest/gtest.h>

#include <cmath>

namespace cria::engine {
namespace {

TEST(Logprobs, AreTheLogarithmsOfTheSoftmax) {
  const std::vector<float> logits = {1, 3, -2, 3, 0.5F};
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  const TokenLogprobs logprobs = token_logprobs(logits, 2, 3);
  EXPECT_NEAR(logprobs.chosen, -2 - std::log(sum), 1e-6);
  ASSERT_EQ(logprobs.top.size(), 3U);
  const uint32_t expected[] = {1, 3, 0};  // the lowest token among equals
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(logprobs.top[i].first, expected[i]);
    EXPECT_NEAR(logprobs.top[i].second, logits[expected[i]] - std::log(sum), 1e-6);
  }
}

TEST(Logprobs, DoNotOverflowAndEndWithTheVocabulary) {
  const TokenLogprobs logprobs = token_logprobs(std::vector<float>{1000, -3.4e38F}, 0, 20);
  EXPECT_EQ(logprobs.chosen, 0);
  ASSERT_EQ(logprobs.top.size(), 2U);
  EXPECT_EQ(logprobs.top[1].second, -3.4e38F);
  EXPECT_TRUE(token_logprobs(std::vector<float>{1, 2}, 1, 0).top.empty());
}

}  // namespace
}  // namespace cria::engine
