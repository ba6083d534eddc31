#include "engine/speculation.h"

#include <algorithm>

namespace cria::engine {
namespace {

/// Tokens of a draft that is tried though it is not expected to pay, and tokens until the next try, which double.
constexpr uint32_t kTriedTokens = 3;
constexpr size_t kShortestPause = 16;
constexpr size_t kLongestPause = 1024;

}  // namespace

Result<Speculation> Speculation::create(Engine& engine) {
  Speculation speculation;
  model::Model& model = engine.model();
  // Rows that were written to the host are not written anew, and dynamic RoPE turns every text by its own length.
  const bool is_possible =
      model.kv_cache().stream().empty() && engine.config().rope.scaling != model::RopeScaling::kDynamic;
  speculation.source_ = is_possible ? engine.draft().source : DraftSource::kOff;
  speculation.most_ = engine.draft().tokens;
  speculation.most_rows_ = std::min(model.memory_plan().step_rows, model.max_batch_tokens());
  speculation.states_.resize(model.kv_cache().slots());
  return speculation;
}

void Speculation::begin(uint32_t slot) { states_[slot] = {.lookup = {}, .acceptance = {}, .pause = kShortestPause}; }

Speculation::Plan Speculation::plan(std::span<const Text> texts) {
  Plan plan;
  std::vector<Draftable> draftable;
  for (const Text& text : texts) {
    State& state = states_[text.slot];
    plan.found.push_back(state.lookup.draft(text.tokens, std::min(text.most, most_)));
    draftable.push_back(
        {.probability = state.acceptance.probability(), .most = static_cast<uint32_t>(plan.found.back().size())});
  }
  plan.counts = plan_drafts(draftable, {.steps = steps_, .verified = verified_, .most_rows = most_rows_});
  plan.tries.resize(texts.size());
  auto rows = static_cast<uint32_t>(texts.size());
  for (const uint32_t count : plan.counts) rows += count;
  for (size_t i = 0; i < texts.size(); ++i) {
    const uint32_t tried = std::min({draftable[i].most, kTriedTokens, most_rows_ - std::min(rows, most_rows_)});
    if (plan.counts[i] > 0 || tried == 0 || texts[i].tokens.size() < states_[texts[i].slot].tries_at) continue;
    plan.counts[i] = tried;
    plan.tries[i] = true;
    rows += tried;
  }
  return plan;
}

bool Speculation::expects_drafts(std::span<const Text> texts) {
  if (!is_on()) return false;
  const Plan next = plan(texts);
  return std::ranges::any_of(next.counts, [](uint32_t count) { return count > 0; });
}

Result<std::vector<std::vector<uint32_t>>> Speculation::draft(std::span<const Text> texts) {
  if (!is_on()) return std::vector<std::vector<uint32_t>>(texts.size());
  Plan next = plan(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    State& state = states_[texts[i].slot];
    next.found[i].resize(next.counts[i]);
    if (next.tries[i]) {
      state.tries_at = texts[i].tokens.size() + state.pause;
      state.pause = std::min(2 * state.pause, kLongestPause);
    } else if (next.counts[i] > 0) {
      state.pause = kShortestPause;
    }
  }
  return std::move(next.found);
}

void Speculation::observe_draft(uint32_t slot, uint32_t drafted, uint32_t accepted) {
  states_[slot].acceptance.observe(drafted, accepted);
}

}  // namespace cria::engine
