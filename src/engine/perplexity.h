// How well a model predicts a text: its perplexity, over windows that slide through the text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/engine.h"

namespace cria::engine {

struct PerplexityOptions {
  uint32_t window = 512;  ///< tokens that a window shows the model
  uint32_t stride = 512;  ///< from one window to the next; at most the window
};

struct Perplexity {
  double value = 0;           ///< exp of the mean surprise
  double standard_error = 0;  ///< of the value, from the spread of the surprises, taken for independent
  uint64_t predictions = 0;   ///< tokens that were predicted
  uint64_t windows = 0;
};

/// -log of the probability that logits give a token.
[[nodiscard]] double surprise(std::span<const float> logits, uint32_t token);

/// Predicts every token of full windows that no window before has predicted, from those before it in its window; the
/// first token of a window is never predicted. `on_progress` gets the tokens read since the last call; returning false
/// ends the measurement with what there is. Errors: kInvalidInput for a text shorter than a window and for sizes out of
/// range; those of reading.
Result<Perplexity> perplexity(Engine& engine, std::span<const uint32_t> tokens, const PerplexityOptions& options,
                              const std::function<bool(uint64_t)>& on_progress);

}  // namespace cria::engine
