// How many tokens are drafted: by simulated passes whose costs and acceptance are known.
#include "engine/draft_control.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace cria::engine {
namespace {

/// Costs as they were measured: a step takes 1, a pass of r rows base + slope * r.
struct Costs {
  PassTimes steps, verified;
  Costs(double base, double slope, uint32_t texts = 1) {
    steps.observe(texts, 1);
    for (uint32_t rows = 1; rows <= 64; ++rows) verified.observe(rows, base + slope * rows);
  }
  [[nodiscard]] DraftCosts with(uint32_t most_rows, double draft_seconds = 0) const {
    return {.steps = steps, .verified = verified, .most_rows = most_rows, .draft_seconds = draft_seconds};
  }
};

/// Tokens that a draft of so many is expected to give, with the one that comes behind them.
double expected_tokens(double probability, uint32_t drafted) {
  double tokens = 0;
  for (uint32_t i = 0; i <= drafted; ++i) tokens += std::pow(probability, i);
  return tokens;
}

TEST(PassTimes, AreMediansAndLieBetweenWhatWasMeasured) {
  PassTimes times;
  EXPECT_FALSE(times.seconds(3));
  for (const double seconds : {4.0, 1.0, 1.2, 0.9, 1.1}) times.observe(4, seconds);
  EXPECT_DOUBLE_EQ(*times.seconds(4), 1.1) << "one slow pass does not count";
  EXPECT_DOUBLE_EQ(*times.seconds(1), 1.1);
  times.observe(8, 2.1);
  EXPECT_DOUBLE_EQ(*times.seconds(6), 1.6);
  EXPECT_GT(*times.seconds(20), 2.1);
  for (int i = 0; i < 5; ++i) times.observe(4, 3);
  EXPECT_DOUBLE_EQ(*times.seconds(4), 3) << "only the last ones count";
}

TEST(Acceptance, FollowsWhatBecomesOfDrafts) {
  Acceptance acceptance;
  const double first = acceptance.probability();
  EXPECT_GT(first, 0.4);
  for (int i = 0; i < 30; ++i) acceptance.observe(8, 8);
  EXPECT_GT(acceptance.probability(), 0.95);
  for (int i = 0; i < 3; ++i) acceptance.observe(8, 0);
  EXPECT_LT(acceptance.probability(), 0.95);
  for (int i = 0; i < 30; ++i) acceptance.observe(8, 0);
  EXPECT_LT(acceptance.probability(), 0.2);
  for (int i = 0; i < 100; ++i) acceptance.observe(4, 2);  // 2 were right, the third was wrong
  EXPECT_NEAR(acceptance.probability(), 2.0 / 3, 0.02);
}

/// For one text, the best of all numbers of drafted tokens is taken, or none.
TEST(PlanDrafts, TakesTheNumberThatGivesTheMostTokensPerSecond) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> any(0, 1);
  for (int trial = 0; trial < 300; ++trial) {
    const double probability = 0.99 * any(random);
    const double slope = 0.3 * any(random);
    const double draft_seconds = trial % 2 == 0 ? 0 : 0.3 * any(random);
    const Costs costs(0.8 + 0.5 * any(random), slope);
    const uint32_t most = 1 + random() % 20;
    const auto rate = [&](uint32_t drafted) {
      if (drafted == 0) return 1.05;  // a gain of less is not worth it
      return expected_tokens(probability, drafted) / (*costs.verified.seconds(drafted + 1) + drafted * draft_seconds);
    };
    const Draftable text{.probability = probability, .most = most};
    const uint32_t planned = plan_drafts(std::span(&text, 1), costs.with(16, draft_seconds)).front();
    ASSERT_LE(planned, std::min(most, 15U));
    for (uint32_t drafted = 0; drafted <= std::min(most, 15U); ++drafted) {
      ASSERT_GE(rate(planned), rate(drafted) * (1 - 1e-9)) << "planned " << planned << ", better " << drafted;
    }
  }
}

TEST(PlanDrafts, SharesTheRowsAmongTexts) {
  const Costs costs(1, 0.01, 3);
  const std::vector<Draftable> texts = {
      {.probability = 0.9, .most = 15}, {.probability = 0.9, .most = 15}, {.probability = 0.1, .most = 15}};
  const std::vector<uint32_t> counts = plan_drafts(texts, costs.with(16));
  EXPECT_EQ(counts[0] + counts[1] + counts[2], 13U);
  EXPECT_GT(counts[0], 4U);
  EXPECT_GT(counts[1], 4U);
  EXPECT_LE(counts[2], 1U);
  EXPECT_EQ(plan_drafts(texts, costs.with(3)), std::vector<uint32_t>(3)) << "no row is left";
  EXPECT_TRUE(plan_drafts({}, costs.with(16)).empty());
}

TEST(PlanDrafts, NothingIsDraftedWhereAPassCostsWhatItGives) {
  const Costs dear(0, 1);  // each row costs a step, as on a CPU
  const Draftable sure{.probability = 0.97, .most = 15};
  EXPECT_EQ(plan_drafts(std::span(&sure, 1), dear.with(16)).front(), 0U);
  const Draftable none{.probability = 0.97, .most = 0};
  EXPECT_EQ(plan_drafts(std::span(&none, 1), Costs(1, 0).with(16)).front(), 0U);
}

TEST(PlanDrafts, WithoutMeasurementsAFewAreTried) {
  const PassTimes unknown;
  const Draftable text{.probability = 0.6, .most = 15};
  const DraftCosts costs{.steps = unknown, .verified = unknown, .most_rows = 16};
  EXPECT_GT(plan_drafts(std::span(&text, 1), costs).front(), 0U);
}

}  // namespace
}  // namespace cria::engine
