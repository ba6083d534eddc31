// How many decode steps to hand to the GPU together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "model/model.h"

namespace cria::engine {

/// A submission costs the GPU some 20 us between it and the next, so that short steps gain from company. But what they
/// draw comes back only when all are done, and those behind a text's end are drawn in vain: together they may take
/// kSeconds. While some steps run the next ones are recorded, which takes nearly as long: so their number grows by one
/// at a time, and one slow step does not make it fall.
class StepPace {
 public:
  static constexpr double kSeconds = 6e-3;

  /// How many to record next.
  [[nodiscard]] uint32_t steps() const { return steps_; }

  /// So many steps took so long, right behind others.
  void observe(double seconds, uint32_t steps) {
    const double step = seconds / steps;
    step_seconds_ = std::min(step, 1.05 * step_seconds_.value_or(step));
    const double fitting = std::clamp(kSeconds / *step_seconds_, 1.0, double{model::kMaxStepsTogether});
    steps_ = std::min(steps_ + 1, static_cast<uint32_t>(fitting));
  }

 private:
  uint32_t steps_ = 1;
  std::optional<double> step_seconds_;
};

}  // namespace cria::engine
