// Speculative decoding: drafts of how texts go on, which the model verifies in one pass, as many tokens as are expected
// to pay. What is drawn at a position does not depend on drafts; they only decide how many positions a pass draws at.
// Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", with draws that are a
// function of seed, position and distribution, so that a draft is kept exactly where it is what is drawn anyway.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "engine/draft_control.h"
#include "engine/engine.h"
#include "engine/prompt_lookup.h"

namespace cria::engine {

class Speculation {
 public:
  /// For texts in as many slots as the engine's model has, in the way that the engine was asked for.
  static Result<Speculation> create(Engine& engine);

  /// False where nothing is drafted at all: it was not asked for, or positions of this model's cache cannot be written
  /// twice.
  [[nodiscard]] bool is_on() const { return source_ != DraftSource::kOff; }

  /// A text begins in a slot.
  void begin(uint32_t slot);

  struct Text {
    uint32_t slot = 0;
    std::span<const uint32_t> tokens;  ///< all that are known, and of which all but the last are in the cache
    uint32_t most = 0;                 ///< tokens that may be drafted
  };
  /// Drafts for texts that are about to take a step together: one for each, empty ones for those that are better
  /// continued by one token. Errors: those of the draft model.
  Result<std::vector<std::vector<uint32_t>>> draft(std::span<const Text> texts);
  /// Whether there will be drafts when the next token of each is known, so that its step should not be followed by
  /// another one before.
  [[nodiscard]] bool expects_drafts(std::span<const Text> texts);

  /// Tells what became of a text's draft.
  void observe_draft(uint32_t slot, uint32_t drafted, uint32_t accepted);
  /// Tells what passes took: steps of so many texts that were begun ahead, one after the other, and those that verify.
  void observe_step(uint32_t texts, double seconds) { steps_.observe(texts, seconds); }
  void observe_pass(uint32_t rows, double seconds) { verified_.observe(rows, seconds); }

 private:
  struct State {
    PromptLookup lookup;
    Acceptance acceptance;
    size_t tries_at = 0;  ///< tokens of the text at which a draft is tried, though none is expected to pay
    size_t pause = 0;     ///< tokens until the try after that
  };
  struct Plan {
    std::vector<std::vector<uint32_t>> found;  ///< by lookup, for each text
    std::vector<uint32_t> counts;              ///< of the tokens to draft
    std::vector<bool> tries;
  };
  Plan plan(std::span<const Text> texts);

  DraftSource source_ = DraftSource::kOff;
  uint32_t most_ = 0;
  uint32_t most_rows_ = 0;
  std::vector<State> states_;  // of each slot
  PassTimes steps_, verified_;
};

}  // namespace cria::engine
