#include "engine/speculation.h"

#include <algorithm>

#include "base/clock.h"

namespace cria::engine {

Result<Speculation> Speculation::create(Engine& engine) {
  Speculation speculation;
  model::Model& model = engine.model();
  // Rows that were written to the host are not written anew, and dynamic RoPE turns every text by its own length.
  const bool is_possible =
      model.kv_cache().stream().empty() && engine.config().rope.scaling != model::RopeScaling::kDynamic;
  speculation.source_ = is_possible ? engine.draft().source : DraftSource::kOff;
  if (!speculation.is_on()) return speculation;
  speculation.most_ = engine.draft().tokens;
  const uint32_t slots = model.kv_cache().slots();
  speculation.lookups_.resize(slots);
  double draft_steps = 0;
  if (speculation.source_ == DraftSource::kModel) {
    CRIA_TRY_ASSIGN(speculation.draft_model_, DraftModel::create(engine));
    draft_steps = static_cast<double>(engine.draft_model()->memory_plan().step_weight_bytes) /
                  static_cast<double>(model.memory_plan().step_weight_bytes);
  }
  const uint32_t most_rows = std::min(model.memory_plan().step_rows, model.max_batch_tokens());
  speculation.control_ = DraftControl(slots, most_rows, draft_steps);
  return speculation;
}

void Speculation::begin(uint32_t slot) {
  if (!is_on()) return;
  lookups_[slot].clear();
  control_.begin(slot);
}

Speculation::Plan Speculation::plan(std::span<const Text> texts) {
  Plan plan;
  for (const Text& text : texts) {
    uint32_t most = std::min(text.most, most_);
    std::vector<uint32_t>& found = plan.found.emplace_back();
    if (draft_model_) {
      most = std::min(most, draft_model_->most(text.tokens.size()));
    } else {
      found = lookups_[text.slot].draft(text.tokens, most);
      most = static_cast<uint32_t>(found.size());
    }
    plan.texts.push_back({.slot = text.slot, .length = text.tokens.size(), .most = most});
  }
  plan.control = control_.plan(plan.texts);
  return plan;
}

bool Speculation::expects_drafts(std::span<const Text> texts) { return is_on() && plan(texts).control.has_drafts(); }

Result<std::vector<std::vector<uint32_t>>> Speculation::draft(std::span<const Text> texts) {
  if (!is_on()) return std::vector<std::vector<uint32_t>>(texts.size());
  Plan next = plan(texts);
  control_.begin_pass(next.texts, next.control);
  if (draft_model_) return draft_by_model(texts, next.control.counts);
  for (size_t i = 0; i < texts.size(); ++i) next.found[i].resize(next.control.counts[i]);
  return std::move(next.found);
}

Result<std::vector<std::vector<uint32_t>>> Speculation::draft_by_model(std::span<const Text> texts,
                                                                       const std::vector<uint32_t>& counts) {
  const auto start = Clock::now();
  std::vector<DraftModel::Request> requests;
  for (size_t i = 0; i < texts.size(); ++i) {
    requests.push_back({.slot = texts[i].slot,
                        .tokens = texts[i].tokens,
                        .count = counts[i],
                        .params = texts[i].params,
                        .step = texts[i].step});
  }
  CRIA_TRY_ASSIGN(std::vector<std::vector<uint32_t>> drafts, draft_model_->draft(requests));
  size_t longest = 0;
  for (const std::vector<uint32_t>& draft : drafts) longest = std::max(longest, draft.size());
  if (longest > 0) control_.observe_drafting(static_cast<uint32_t>(longest), seconds_since(start));
  return drafts;
}

}  // namespace cria::engine
