#include "engine/token_sampler.h"

#include <algorithm>

namespace cria::engine {

Result<TokenSampler> TokenSampler::create(gpu::Device& device, uint32_t vocab_size, uint32_t slots, uint32_t draws) {
  TokenSampler sampler;
  sampler.vocab_size_ = vocab_size;
  sampler.slots_ = slots;
  sampler.draws_ = std::max(slots, draws);
  sampler.kept_.resize(slots);
  const bool drafts = draws > 0;
  CRIA_TRY_ASSIGN(sampler.sampler_, kernels::Sampler::create(device, vocab_size));
  const auto scratch = [&](std::string_view label, uint64_t bytes) {
    return device.create_buffer(label, bytes, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(sampler.rows_, scratch("sampler parameters", sampler.draws_ * sizeof(kernels::SamplerRow)));
  const uint64_t seen_rows = uint64_t{slots} + (drafts ? sampler.draws_ : 0);
  CRIA_TRY_ASSIGN(sampler.seen_, scratch("tokens seen", seen_rows * vocab_size * 4));
  const uint32_t results = std::max(sampler.draws_, model::kMaxStepsTogether * kStepValues);
  CRIA_TRY_ASSIGN(sampler.results_, scratch("sampled tokens", results * sizeof(kernels::SampledToken)));
  if (!drafts) return sampler;
  const uint64_t list_bytes = sampler.draws_ * sizeof(kernels::TokenList);
  CRIA_TRY_ASSIGN(sampler.kept_lists_, scratch("lists of kept tokens", list_bytes));
  CRIA_TRY_ASSIGN(sampler.kept_tokens_, scratch("kept tokens", uint64_t{sampler.draws_} * 4));
  CRIA_TRY_ASSIGN(sampler.drafted_lists_, scratch("lists of drafted tokens", list_bytes));
  // Each draw supposes one token more than the one before it.
  CRIA_TRY_ASSIGN(sampler.drafted_tokens_, scratch("drafted tokens", uint64_t{sampler.draws_} * sampler.draws_ * 2));
  return sampler;
}

Status TokenSampler::begin(gpu::Device& device, uint32_t slot, std::span<const uint32_t> prompt,
                           std::span<const uint32_t> generated) {
  kept_[slot].clear();
  std::vector<uint32_t> seen(vocab_size_);
  for (const uint32_t token : prompt) seen[token] = kernels::kInPrompt;
  for (const uint32_t token : generated) ++seen[token];
  return device.write(seen_, uint64_t{slot} * vocab_size_ * 4, std::as_bytes(std::span(seen)));
}

void TokenSampler::record_prompt(gpu::Recorder& recorder, const model::Model& model, uint32_t count,
                                 uint32_t slot) const {
  sampler_.record_marks(recorder, model.tokens(), 0, count, slot, seen_);
}

Status TokenSampler::record_biases(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                   std::span<const Draw> draws) {
  std::vector<kernels::LogitBiasEntry> entries;
  for (uint32_t row = 0; row < draws.size(); ++row) {
    for (const LogitBias& bias : draws[row].params->logit_bias) {
      entries.push_back({.at = row * model.logits().stride() + bias.token, .value = bias.value});
    }
  }
  if (entries.empty()) return {};
  const std::span<const std::byte> bytes = std::as_bytes(std::span(entries));
  if (!biases_.valid() || biases_.size_bytes() < bytes.size()) {
    CRIA_TRY_ASSIGN(biases_, device.create_buffer("logit biases", bytes.size(), gpu::MemoryKind::kScratch));
  }
  CRIA_TRY(device.write(biases_, 0, bytes));
  sampler_.record_bias(recorder, model.logits(), biases_, static_cast<uint32_t>(entries.size()));
  return {};
}

Status TokenSampler::record_masks(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                  std::span<const Draw> draws) {
  std::vector<uint32_t> masks;
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < draws.size(); ++row) {
    if (draws[row].mask.empty()) continue;
    CRIA_CHECK(draws[row].mask.size() == sampler_.mask_words());
    masks.insert(masks.end(), draws[row].mask.begin(), draws[row].mask.end());
    rows.push_back(row);
  }
  if (rows.empty()) return {};
  if (!masks_.valid()) {
    const auto scratch = [&](std::string_view label, uint64_t words) {
      return device.create_buffer(label, words * 4, gpu::MemoryKind::kScratch);
    };
    CRIA_TRY_ASSIGN(masks_, scratch("token masks", uint64_t{draws_} * sampler_.mask_words()));
    CRIA_TRY_ASSIGN(masked_rows_, scratch("masked rows", draws_));
  }
  CRIA_TRY(device.write(masks_, 0, std::as_bytes(std::span(masks))));
  CRIA_TRY(device.write(masked_rows_, 0, std::as_bytes(std::span(rows))));
  sampler_.record_masks(recorder, model.logits(), masks_, masked_rows_, static_cast<uint32_t>(rows.size()));
  return {};
}

Result<uint32_t> token_of(kernels::SampledToken sampled, size_t position) {
  if (sampled.status == kernels::SamplerStatus::kOk) return sampled.token;
  return fail(ErrorCode::kNotFinite,
              "the model produced NaN or infinite logits at position {}: its weights are damaged, or too large for the "
              "chosen weight type",
              position);
}

void TokenSampler::keep(const SamplingParams& params, uint32_t slot, uint32_t token) {
  if (has_penalties(params)) kept_[slot].push_back(token);  // else nobody asks for the counts
}

namespace {

/// Tokens in lists, as the kernel that counts them takes them.
struct TokenLists {
  std::vector<kernels::TokenList> lists;
  std::vector<uint32_t> tokens;
  void add(uint32_t from_row, uint32_t to_row, std::span<const uint32_t> more) {
    lists.push_back({.from_row = from_row,
                     .to_row = to_row,
                     .first = static_cast<uint32_t>(tokens.size()),
                     .count = static_cast<uint32_t>(more.size())});
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
};

Status record_lists(gpu::Device& device, gpu::Recorder& recorder, const kernels::Sampler& sampler,
                    const TokenLists& all, const gpu::Buffer& lists, const gpu::Buffer& tokens,
                    const gpu::Buffer& seen) {
  if (all.lists.empty()) return {};
  CRIA_TRY(device.write(lists, 0, std::as_bytes(std::span(all.lists))));
  CRIA_TRY(device.write(tokens, 0, std::as_bytes(std::span(all.tokens))));
  sampler.record_lists(recorder, lists, tokens, static_cast<uint32_t>(all.lists.size()), seen);
  return {};
}

}  // namespace

/// Counts what passes before this one drew behind drafts, and then, in rows of their own, what draws of this one
/// suppose.
Status TokenSampler::record_counts(gpu::Device& device, gpu::Recorder& recorder, std::span<const Draw> draws) {
  TokenLists kept;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    if (!kept_[slot].empty()) kept.add(slot, slot, kept_[slot]);
    kept_[slot].clear();
  }
  CRIA_TRY(record_lists(device, recorder, sampler_, kept, kept_lists_, kept_tokens_, seen_));
  TokenLists drafted;
  for (uint32_t index = 0; index < draws.size(); ++index) {
    const Draw& draw = draws[index];
    if (draw.drafted.empty() || !has_penalties(*draw.params)) continue;
    drafted.add(draw.slot, slots_ + index, draw.drafted);
  }
  return record_lists(device, recorder, sampler_, drafted, drafted_lists_, drafted_tokens_, seen_);
}

Status TokenSampler::record_draws(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                  std::span<const Draw> draws, const gpu::Range& results) {
  CRIA_TRY(record_biases(device, recorder, model, draws));
  CRIA_TRY(record_masks(device, recorder, model, draws));
  CRIA_TRY(record_counts(device, recorder, draws));
  std::vector<kernels::SamplerRow> rows;
  bool is_greedy = true;
  for (uint32_t index = 0; index < draws.size(); ++index) {
    const Draw& draw = draws[index];
    kernels::SamplerRow& row = rows.emplace_back(sampler_row(*draw.params, draw.step, draw.slot));
    if (!draw.drafted.empty()) row.slot = has_penalties(*draw.params) ? slots_ + index : kernels::kNoSlot;
    row.logits_row = row.token_index = index;
    is_greedy = is_greedy && row.temperature == 0;
  }
  const auto count = static_cast<uint32_t>(rows.size());
  CRIA_CHECK(count <= draws_);
  CRIA_TRY_ASSIGN(const gpu::Range where, device.upload(recorder, rows_, std::as_bytes(std::span(rows))));
  sampler_.record(recorder, model.logits(), where, seen_, model.tokens(), results, count, is_greedy);
  return {};
}

Result<gpu::PendingRead> TokenSampler::record(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                              std::span<const Draw> draws) {
  CRIA_TRY(record_draws(device, recorder, model, draws, results_));
  return recorder.read(results_, 0, draws.size() * sizeof(kernels::SampledToken));
}

Status TokenSampler::record_step(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                 const Draw& draw, uint32_t step) {
  CRIA_CHECK(step < model::kMaxStepsTogether && (step == 0 || (draw.mask.empty() && draw.drafted.empty())));
  constexpr uint64_t kBytes = sizeof(kernels::SampledToken);
  return record_draws(device, recorder, model, std::span(&draw, 1), {results_, step * kStepValues * kBytes, kBytes});
}

Result<gpu::PendingRead> TokenSampler::read_steps(gpu::Recorder& recorder, uint32_t steps) const {
  return recorder.read(results_, 0, uint64_t{steps} * kStepValues * sizeof(kernels::SampledToken));
}

}  // namespace cria::engine
