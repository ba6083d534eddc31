// Speculative decoding: drafts of how texts go on, which the model verifies in one pass, as many tokens as are expected
// to pay. What is drawn at a position does not depend on drafts; they only decide how many positions a pass draws at.
// Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", with draws that are a
// function of seed, position and distribution, so that a draft is kept exactly where it is what is drawn anyway.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/draft_control.h"
#include "engine/draft_model.h"
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
    const SamplingParams* params = nullptr;
    uint32_t step = 0;  ///< the number of the next draw
  };
  /// Drafts for texts that are about to take a step together: one for each, empty ones for those that are better
  /// continued by one token. Errors: those of the draft model.
  Result<std::vector<std::vector<uint32_t>>> draft(std::span<const Text> texts);
  /// Whether there will be drafts when the next token of each is known, so that its step should not be followed by
  /// another one before.
  [[nodiscard]] bool expects_drafts(std::span<const Text> texts);

  /// Tells what became of a text's draft.
  void observe_draft(uint32_t slot, uint32_t drafted, uint32_t accepted) {
    control_.observe_draft(slot, drafted, accepted);
  }
  /// Tells what passes took: steps of so many texts that were begun ahead, one after the other, and those that verify.
  void observe_step(uint32_t texts, double seconds) { control_.observe_step(texts, seconds); }
  void observe_pass(uint32_t rows, double seconds) { control_.observe_pass(rows, seconds); }

 private:
  struct Plan {
    std::vector<std::vector<uint32_t>> found;  ///< by lookup, for each text
    std::vector<DraftControl::Text> texts;
    DraftControl::Plan control;
  };
  Plan plan(std::span<const Text> texts);
  Result<std::vector<std::vector<uint32_t>>> draft_by_model(std::span<const Text> texts,
                                                            const std::vector<uint32_t>& counts);

  DraftSource source_ = DraftSource::kOff;
  uint32_t most_ = 0;
  DraftControl control_;
  std::vector<PromptLookup> lookups_;  // of each slot
  std::optional<DraftModel> draft_model_;
};

}  // namespace cria::engine
