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
/// expected; none where plain steps are as good.
[[nodiscard]] std::vector<uint32_t> plan_drafts(std::span<const Draftable> texts, const DraftCosts& costs);

}  // namespace cria::engine
