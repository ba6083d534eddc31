// How many tokens of a prompt one pass reads, so that no submission keeps the GPU busy for long.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace cria::engine {

/// Drivers and systems end a submission that takes a second or two, and a display that shares the GPU stands still
/// for as long. So a pass is to take half a second at most: its size follows what the passes before have shown, and
/// begins with what a slow GPU can do.
class PassSize {
 public:
  PassSize() = default;
  /// `most`: tokens that fit a pass.
  PassSize(const model::ModelConfig& config, uint32_t most);

  /// Tokens for the next pass, which begins at a position of the text: a power of two, or `most`.
  [[nodiscard]] uint32_t tokens(uint32_t position) const;
  /// Tells what a pass took, from its submission to its end.
  void observe(uint32_t tokens, uint32_t position, double seconds);

 private:
  /// Floating-point operations of a pass.
  [[nodiscard]] double work(uint32_t tokens, uint32_t position) const;

  uint32_t most_ = 1;
  double work_per_token_ = 0;           // without attention
  double work_per_token_position_ = 0;  // of attention
  double rate_ = 0;                     // operations per second
};

}  // namespace cria::engine
