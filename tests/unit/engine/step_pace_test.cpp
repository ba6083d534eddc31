// How many steps go together follows what the device shows.
#include "engine/step_pace.h"

#include <gtest/gtest.h>

namespace cria::engine {
namespace {

/// Observes `count` submissions of steps that take so long, and returns how many steps the last one has.
uint32_t steps_after(StepPace& pace, uint32_t count, double step_seconds) {
  for (uint32_t i = 0; i < count; ++i) pace.observe(pace.steps() * step_seconds, pace.steps());
  return pace.steps();
}

TEST(StepPace, LongStepsGoAlone) {
  StepPace pace;
  EXPECT_EQ(pace.steps(), 1U);
  EXPECT_EQ(steps_after(pace, 100, StepPace::kSeconds * 0.51), 1U);
}

TEST(StepPace, ShortOnesGetCompanyOneAtATime) {
  StepPace pace;
  for (uint32_t wanted = 2; wanted <= 5; ++wanted) EXPECT_EQ(steps_after(pace, 1, StepPace::kSeconds / 5.5), wanted);
  EXPECT_EQ(steps_after(pace, 100, StepPace::kSeconds / 5.5), 5U);
  EXPECT_EQ(steps_after(pace, 100, 1e-6), model::kMaxStepsTogether);
}

TEST(StepPace, OneSlowSubmissionIsNoReasonToChange) {
  StepPace pace;
  ASSERT_EQ(steps_after(pace, 20, StepPace::kSeconds / 5.5), 5U);
  pace.observe(1, 5);
  EXPECT_EQ(pace.steps(), 5U);
}

TEST(StepPace, ManySlowOnesAre) {
  StepPace pace;
  ASSERT_EQ(steps_after(pace, 20, StepPace::kSeconds / 5.5), 5U);
  EXPECT_EQ(steps_after(pace, 50, StepPace::kSeconds / 2.5), 2U);
}

}  // namespace
}  // namespace cria::engine
