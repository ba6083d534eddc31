// How many drafted tokens are worth verifying: what passes of so many rows take, and how many drafts come true.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace cria::engine {

/// What passes take by their number of rows, as measured: the median of the last few of each number.
class PassTimes {
 public:
  void observe(uint32_t rows, double seconds);
  /// In between what was measured; beyond it a little more for each row. Nothing before the first measurement.
  [[nodiscard]] std::optional<double> seconds(uint32_t rows) const;

 private:
  std::map<uint32_t, std::vector<double>> samples_;  // the latest last
};

/// How likely a text's next drafted token is to be the one that is drawn, by what became of the latest drafts.
class Acceptance {
 public:
  void observe(uint32_t drafted, uint32_t accepted);
  [[nodiscard]] double probability() const;

 private:
  double accepted_ = 0;  // the older, the less they count
  double judged_ = 0;    // of those behind the first that was wrong, nothing is known
};

/// A text that may be continued by drafts.
struct Draftable {
  double probability = 0;  ///< of each token, where those before it were right
  uint32_t most = 0;       ///< tokens to draft at most
};

/// What a pass costs that verifies drafts, and one that does not.
struct DraftCosts {
  const PassTimes& steps;     ///< by the number of texts
  const PassTimes& verified;  ///< by the number of texts and drafted tokens together
  uint32_t most_rows = 0;     ///< of a pass
  /// To draft a token of each text, in seconds; or where nothing was measured yet, in steps.
  double draft_seconds = 0;
  double draft_steps = 0;
};

/// For each text how many tokens to draft, so that the texts together gain as many tokens per second as can be
/// expected; none where plain steps are as good, or none was measured.
[[nodiscard]] std::vector<uint32_t> plan_drafts(std::span<const Draftable> texts, const DraftCosts& costs);

/// Decides before each step of some texts how much is drafted, and learns from what becomes of it. Where nothing is
/// expected to pay, a few tokens are tried now and then, the more seldom the longer that is so.
class DraftControl {
 public:
  DraftControl() = default;
  /// Passes have so many rows at most. To draft a token is taken to cost so many steps, until it is measured.
  DraftControl(uint32_t slots, uint32_t most_rows, double draft_steps)
      : most_rows_(most_rows), draft_steps_(draft_steps), states_(slots) {}

  /// Another text begins in a slot.
  void begin(uint32_t slot);

  struct Text {
    uint32_t slot = 0;
    size_t length = 0;  ///< tokens
    uint32_t most = 0;  ///< tokens that can be drafted
  };
  struct Plan {
    std::vector<uint32_t> counts;  ///< of tokens to draft, for each text
    std::vector<bool> is_try;
    [[nodiscard]] bool has_drafts() const;
  };
  [[nodiscard]] Plan plan(std::span<const Text> texts) const;
  /// A plan is carried out.
  void begin_pass(std::span<const Text> texts, const Plan& plan);

  void observe_draft(uint32_t slot, uint32_t drafted, uint32_t accepted) {
    states_[slot].acceptance.observe(drafted, accepted);
  }
  /// What took how long: a step of so many texts, begun ahead, to the next; a pass that verifies, from its begin to its
  /// tokens; the drafting of so many tokens of each text.
  void observe_step(uint32_t texts, double seconds) { steps_.observe(texts, seconds); }
  void observe_pass(uint32_t rows, double seconds) { verified_.observe(rows, seconds); }
  void observe_drafting(uint32_t tokens, double seconds) { drafted_.observe(1, seconds / tokens); }

 private:
  struct State {
    Acceptance acceptance;
    size_t tries_at = 0;  ///< length of the text from which on a draft is tried, though none is expected to pay
    size_t pause = 0;     ///< tokens from then to the next try
  };
  uint32_t most_rows_ = 0;
  double draft_steps_ = 0;
  std::vector<State> states_;  // of each slot
  PassTimes steps_, verified_, drafted_;
};

}  // namespace cria::engine
