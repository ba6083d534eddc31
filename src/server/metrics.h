// Figures for Prometheus.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "engine/scheduler.h"

namespace cria::server {

class Metrics {
 public:
  /// Counts an answer by the first digit of its status.
  void count(int status);
  /// All figures in Prometheus' text format.
  [[nodiscard]] std::string text(const engine::SchedulerState& state, size_t connections) const;

 private:
  std::array<std::atomic<uint64_t>, 6> answers_{};
};

}  // namespace cria::server
