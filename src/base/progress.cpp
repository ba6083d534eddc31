#include "base/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace cria {
namespace {
constexpr int kBarWidth = 30;
constexpr auto kDrawInterval = std::chrono::milliseconds(100);
}  // namespace

ProgressBar::ProgressBar(std::string label, uint64_t total, bool visible, ProgressUnit unit)
    : label_(std::move(label)),
      total_(std::max<uint64_t>(total, 1)),
      visible_(visible),
      unit_(unit),
      start_(std::chrono::steady_clock::now()),
      last_draw_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void ProgressBar::advance(uint64_t amount) {
  done_ = std::min(total_, done_ + amount);
  if (!visible_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_draw_ < kDrawInterval) return;
  last_draw_ = now;
  drawn_ = true;
  draw();
}

void ProgressBar::draw() const {
  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  const double seconds = std::chrono::duration<double>(last_draw_ - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const std::string speed =
      unit_ == ProgressUnit::kBytes ? fmt::format("{:.2f} GB/s", rate / 1e9) : fmt::format("{:.0f} tokens/s", rate);
  const int filled = static_cast<int>(share * kBarWidth);
  fmt::print(stderr, "\r{} [{}{}] {:3.0f} %  {}\x1b[K", label_, std::string(static_cast<size_t>(filled), '#'),
             std::string(static_cast<size_t>(kBarWidth - filled), ' '), share * 100, speed);
  std::fflush(stderr);
}

}  // namespace cria
