// Lines that a person types, with editing and history, or lines from a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/error.h"

namespace cria::cli {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Outcome : uint8_t { kLine, kInterrupted, kEnd };

  /// Reads a line without its end into `line`. At a terminal `prompt` is shown, and Ctrl-C is kInterrupted.
  /// Errors: kInvalidInput for a line of more than 16 MiB, kIo.
  Result<Outcome> read(const std::string& prompt, std::string& line);

  [[nodiscard]] bool is_terminal() const { return is_terminal_; }

 private:
  struct Impl;
  Result<Outcome> read_pipe(std::string& line);
  std::unique_ptr<Impl> impl_;  // only at a terminal
  bool is_terminal_;
};

}  // namespace cria::cli
