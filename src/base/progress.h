// A progress bar on the terminal; silent where standard error is none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cria {

/// Draws `LABEL [#####     ] 52 %  1.2 GB/s` on stderr at most ten times a second, and wipes it at the end.
class ProgressBar {
 public:
  /// `total` is the amount of work in `unit`s (bytes, tokens). `visible` false draws nothing.
  ProgressBar(std::string label, uint64_t total, bool visible);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void advance(uint64_t amount);

 private:
  void draw() const;

  std::string label_;
  uint64_t total_;
  uint64_t done_ = 0;
  bool visible_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace cria
