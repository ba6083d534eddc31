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

TEST(PlanDrafts, WhenStepsAreMeasuredAFewAreTried) {
  PassTimes steps;
  const PassTimes verified;
  const Draftable text{.probability = 0.6, .most = 15};
  const DraftCosts costs{.steps = steps, .verified = verified, .most_rows = 16};
  EXPECT_EQ(plan_drafts(std::span(&text, 1), costs).front(), 0U);
  steps.observe(1, 0.001);
  EXPECT_GT(plan_drafts(std::span(&text, 1), costs).front(), 0U);
}

/// A machine whose passes take a known time, and texts whose drafts come true with a known probability.
struct Simulation {
  double step = 1, verify = 1.1, row = 0.02, draft = 0;
  double acceptance = 0;
  uint32_t most = 15;

  /// Tokens per second relative to plain steps.
  [[nodiscard]] double speed(uint32_t tokens, uint32_t seed = 1) const {
    std::mt19937 random(seed);
    std::bernoulli_distribution comes_true(acceptance);
    DraftControl control(1, 16, draft / step);
    control.begin(0);
    double seconds = 0;
    size_t length = 100;
    for (const size_t end = length + tokens; length < end;) {
      const DraftControl::Text text{.slot = 0, .length = length, .most = most};
      const DraftControl::Plan plan = control.plan(std::span(&text, 1));
      const uint32_t drafted = plan.counts.front();
      if (drafted == 0) {
        control.observe_step(1, step);
        seconds += step;
        ++length;
        continue;
      }
      control.begin_pass(std::span(&text, 1), plan);
      if (draft > 0) control.observe_drafting(drafted, drafted * draft);
      control.observe_pass(drafted + 1, verify + row * drafted);
      seconds += drafted * draft + verify + row * drafted;
      uint32_t accepted = 0;
      while (accepted < drafted && comes_true(random)) ++accepted;
      control.observe_draft(0, drafted, accepted);
      length += accepted + 1;
    }
    return tokens * step / seconds;
  }
};

TEST(DraftControl, DraftsThatNeverComeTrueCostLittleAndEnd) {
  // A model that drafts, an eighth as large: a token of it costs a fifth of a step.
  const Simulation model{.step = 5.7, .verify = 7, .row = 0.05, .draft = 1.2, .acceptance = 0};
  EXPECT_GT(model.speed(128), 0.9);
  EXPECT_GT(model.speed(1024), 0.97);
  const Simulation lookup{.verify = 1.6, .acceptance = 0};
  EXPECT_GT(lookup.speed(128), 0.9);
  EXPECT_GT(lookup.speed(1024), 0.97);
}

TEST(DraftControl, DraftsThatComeTruePay) {
  EXPECT_GT((Simulation{.verify = 1.6, .acceptance = 1}.speed(512)), 6) << "16 tokens a pass of 1.9";
  EXPECT_GT((Simulation{.verify = 1.6, .acceptance = 0.9}.speed(512)), 2.5);
  EXPECT_GT((Simulation{.step = 5.7, .verify = 7, .row = 0.05, .draft = 1.2, .acceptance = 0.8}.speed(512)), 1.3);
}

TEST(DraftControl, WhereAPassCostsWhatItGivesItIsAsFastAsWithout) {
  EXPECT_GT((Simulation{.verify = 1, .row = 1, .acceptance = 1}.speed(1024)), 0.97);
}

TEST(DraftControl, ATextThatBeginsToRepeatIsNoticed) {
  DraftControl control(1, 16, 0);
  control.begin(0);
  control.observe_step(1, 1);
  for (uint32_t rows = 1; rows <= 16; ++rows) control.observe_pass(rows, 1.3);
  size_t length = 0;
  uint32_t drafted_late = 0;
  for (int pass = 0; pass < 600; ++pass) {
    const DraftControl::Text text{.slot = 0, .length = length, .most = 15};
    const DraftControl::Plan plan = control.plan(std::span(&text, 1));
    const uint32_t drafted = plan.counts.front();
    const bool repeats = length > 200;
    control.begin_pass(std::span(&text, 1), plan);
    control.observe_draft(0, drafted, repeats ? drafted : 0);
    length += 1 + (repeats ? drafted : 0);
    if (pass >= 500) drafted_late += drafted;
  }
  EXPECT_GT(drafted_late, 100U * 12) << "nearly whole drafts, pass after pass";
}

}  // namespace
}  // namespace cria::engine
