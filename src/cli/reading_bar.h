// A progress bar while a long prompt is read.
#pragma once

#include <cstdint>
#include <optional>

#include "base/platform.h"
#include "base/progress.h"

namespace cria::cli {

/// Shows on a terminal how far the reading of a prompt is, and is gone when it has been read.
class ReadingBar {
 public:
  /// Called with the tokens that have been read, and all of them (GenerateOptions::on_read).
  void show(uint32_t read, uint32_t total) {
    if (!bar_) bar_.emplace("reading the prompt", total, platform::stderr_is_terminal(), ProgressUnit::kTokens);
    bar_->advance(read - read_);
    read_ = read;
    if (read == total) bar_.reset();
  }

 private:
  std::optional<ProgressBar> bar_;
  uint32_t read_ = 0;
};

}  // namespace cria::cli
