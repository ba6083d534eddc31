// A progress bar on the terminal; silent where standard error is none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cria {

/// What the work of a progress bar is counted in.
enum class ProgressUnit : uint8_t { kBytes, kTokens };

/// Draws `LABEL [#####     ] 52 %  1.2 GB/s` on stderr at most ten times a second, and wipes it at the end. Work that
/// takes less than a tenth of a second shows nothing.
class ProgressBar {
 public:
  /// `total` is the amount of work. `visible` false draws nothing.
  ProgressBar(std::string label, uint64_t total, bool visible, ProgressUnit unit = ProgressUnit::kBytes);
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
  ProgressUnit unit_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace cria
