#include "engine/draft_control.h"

#include <algorithm>

#include "engine/median.h"

namespace cria::engine {
namespace {

constexpr size_t kSamples = 5;
/// What a row more is taken to cost, in parts of a pass, until it is measured: little, so that it will be.
constexpr double kRowShare = 0.02;
/// Of what was seen before, so much counts as much as what is seen now.
constexpr double kMemory = 0.85;
/// What is taken for granted of a new text: as if so many tokens had been judged, and so much of them accepted.
constexpr double kPriorTokens = 2;
constexpr double kPriorShare = 0.6;
/// Gains below it are noise, and not worth the steps that cannot be begun ahead.
constexpr double kLeastGain = 1.05;
/// Tokens of a draft that is tried, and tokens until the next try, which double.
constexpr uint32_t kTriedTokens = 7;
constexpr size_t kShortestPause = 16;
constexpr size_t kLongestPause = 256;

}  // namespace

void PassTimes::observe(uint32_t rows, double seconds) {
  std::vector<double>& samples = samples_[rows];
  if (samples.size() == kSamples) samples.erase(samples.begin());
  samples.push_back(seconds);
}

std::optional<double> PassTimes::seconds(uint32_t rows) const {
  if (samples_.empty()) return std::nullopt;
  const auto above = samples_.lower_bound(rows);
  if (above == samples_.begin()) return median(above->second);
  const auto below = std::prev(above);
  const double low = median(below->second);
  if (above == samples_.end()) return low * (1 + kRowShare * (rows - below->first));
  const double share = static_cast<double>(rows - below->first) / (above->first - below->first);
  return low + share * (median(above->second) - low);
}

void Acceptance::observe(uint32_t drafted, uint32_t accepted) {
  if (drafted == 0) return;
  accepted_ = kMemory * accepted_ + accepted;
  judged_ = kMemory * judged_ + std::min(accepted + 1, drafted);
}

double Acceptance::probability() const { return (accepted_ + kPriorTokens * kPriorShare) / (judged_ + kPriorTokens); }

std::vector<uint32_t> plan_drafts(std::span<const Draftable> texts, const DraftCosts& costs) {
  std::vector<uint32_t> counts(texts.size());
  std::vector<uint32_t> best(texts.size());
  auto rows = static_cast<uint32_t>(texts.size());
  if (texts.empty() || !costs.steps.seconds(rows)) return best;
  const double step = *costs.steps.seconds(rows);
  const double draft = costs.draft_seconds > 0 ? costs.draft_seconds : costs.draft_steps * step;
  double gained = rows;
  double best_rate = kLeastGain * gained / step;
  std::vector<double> chances;  // that all tokens so far, and one more, come true
  for (const Draftable& text : texts) chances.push_back(text.most > 0 ? text.probability : 0);
  uint32_t longest = 0;
  while (rows < costs.most_rows) {
    const auto likeliest = static_cast<size_t>(std::ranges::max_element(chances) - chances.begin());
    if (chances[likeliest] <= 0) break;
    gained += chances[likeliest];
    longest = std::max(longest, ++counts[likeliest]);
    chances[likeliest] =
        counts[likeliest] < texts[likeliest].most ? chances[likeliest] * texts[likeliest].probability : 0;
    ++rows;
    const double pass = costs.verified.seconds(rows).value_or(step * (1 + kRowShare * longest));
    const double rate = gained / (pass + longest * draft);
    if (rate <= best_rate) continue;
    best_rate = rate;
    best = counts;
  }
  return best;
}

void DraftControl::begin(uint32_t slot) { states_[slot] = {.acceptance = {}, .tries_at = 0, .pause = kShortestPause}; }

bool DraftControl::Plan::has_drafts() const {
  return std::ranges::any_of(counts, [](uint32_t count) { return count > 0; });
}

DraftControl::Plan DraftControl::plan(std::span<const Text> texts) const {
  std::vector<Draftable> draftable;
  for (const Text& text : texts) {
    draftable.push_back({.probability = states_[text.slot].acceptance.probability(), .most = text.most});
  }
  Plan plan;
  plan.counts = plan_drafts(draftable, {.steps = steps_,
                                        .verified = verified_,
                                        .most_rows = most_rows_,
                                        .draft_seconds = drafted_.seconds(1).value_or(0),
                                        .draft_steps = draft_steps_});
  plan.is_try.resize(texts.size());
  if (!steps_.seconds(1)) return plan;
  auto rows = static_cast<uint32_t>(texts.size());
  for (const uint32_t count : plan.counts) rows += count;
  for (size_t i = 0; i < texts.size(); ++i) {
    const uint32_t left = most_rows_ - std::min(rows, most_rows_);
    const uint32_t tried = std::min({texts[i].most, kTriedTokens, left});
    if (plan.counts[i] > 0 || tried == 0 || texts[i].length < states_[texts[i].slot].tries_at) continue;
    plan.counts[i] = tried;
    plan.is_try[i] = true;
    rows += tried;
  }
  return plan;
}

void DraftControl::begin_pass(std::span<const Text> texts, const Plan& plan) {
  for (size_t i = 0; i < texts.size(); ++i) {
    State& state = states_[texts[i].slot];
    if (plan.is_try[i]) {
      state.tries_at = texts[i].length + state.pause;
      state.pause = std::min(2 * state.pause, kLongestPause);
    } else if (plan.counts[i] > 0) {
      state.pause = kShortestPause;
    }
  }
}

}  // namespace cria::engine
