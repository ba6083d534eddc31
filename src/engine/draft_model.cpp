#include "engine/draft_model.h"

#include <algorithm>

namespace cria::engine {

Result<DraftModel> DraftModel::create(Engine& engine) {
  DraftModel draft(engine);
  const model::Model& model = *engine.draft_model();
  const auto slots = static_cast<uint32_t>(engine.model().kv_cache().slots());
  CRIA_TRY_ASSIGN(draft.sampler_, TokenSampler::create(engine.device(), model.config().vocab_size, slots));
  draft.held_.resize(slots);
  draft.params_.resize(slots);
  return draft;
}

uint32_t DraftModel::most(size_t length) const {
  const uint32_t context = engine_->draft_model()->memory_plan().max_context;
  return length < context ? context - static_cast<uint32_t>(length) : 0;
}

/// Reads what the cache does not hold of a text, but for the last token, and one before it: where a draft came true as
/// a whole, the first step reads both at once. False where there is no room for all that is to be drafted.
Result<bool> DraftModel::catch_up(const Request& request) {
  model::Model& model = *engine_->draft_model();
  gpu::Device& device = engine_->device();
  const std::span<const uint32_t> tokens = request.tokens;
  const auto is_unknown = [&](uint32_t token) { return token >= model.config().vocab_size; };
  std::vector<uint32_t>& held = held_[request.slot];
  const auto same = std::ranges::mismatch(held, tokens).in2 - tokens.begin();
  held.resize(std::min<size_t>(static_cast<size_t>(same), tokens.size() - 1));
  if (std::any_of(tokens.begin() + std::ssize(held), tokens.end(), is_unknown)) return false;
  model.kv_cache().truncate(request.slot, static_cast<uint32_t>(held.size()));
  const Status reserved =
      model.kv_cache().reserve(device, request.slot, static_cast<uint32_t>(tokens.size()) + request.count - 1);
  if (!reserved) {
    if (reserved.error().code() != ErrorCode::kOutOfMemory) return std::unexpected(reserved.error());
    return false;
  }
  while (held.size() + 2 < tokens.size()) {
    const auto position = static_cast<uint32_t>(held.size());
    const uint32_t count =
        std::min<uint32_t>(model.max_batch_tokens(), static_cast<uint32_t>(tokens.size()) - 1 - position);
    auto batch = model::Batch::of(request.slot, position, count);
    batch.tokens.assign(tokens.begin() + position, tokens.begin() + position + count);
    batch.rope_length = static_cast<uint32_t>(tokens.size());
    gpu::Recorder recorder = device.record("draft, reading");
    CRIA_TRY(model.forward(device, recorder, batch));
    CRIA_TRY(recorder.submit());
    held.insert(held.end(), batch.tokens.begin(), batch.tokens.end());
  }
  return true;
}

/// Records a step of these texts and the draw of their next drafted tokens, the first of which follow known ones.
Result<gpu::PendingRead> DraftModel::step(std::span<const Request*> requests, uint32_t index) {
  model::Model& model = *engine_->draft_model();
  model::Batch batch;
  std::vector<TokenSampler::Draw> draws;
  for (const Request* request : requests) {
    const auto length = static_cast<uint32_t>(request->tokens.size()) + index;
    const auto begin = index == 0 ? static_cast<uint32_t>(held_[request->slot].size()) : length - 1;
    for (uint32_t position = begin; position < length; ++position) {
      if (index == 0) batch.tokens.push_back(request->tokens[position]);
      batch.positions.push_back(position);
      batch.slots.push_back(request->slot);
    }
    batch.output_rows.push_back(batch.size() - 1);
    batch.rope_length = std::max(batch.rope_length, batch.positions.back() + 1);
    draws.push_back({.params = &params_[request->slot], .step = request->step + index, .slot = request->slot});
  }
  gpu::Recorder recorder = engine_->device().record("draft");
  CRIA_TRY(model.forward(engine_->device(), recorder, batch));
  CRIA_TRY_ASSIGN(gpu::PendingRead read, sampler_.record(engine_->device(), recorder, model, draws));
  CRIA_TRY(recorder.submit());
  return read;
}

Result<std::vector<std::vector<uint32_t>>> DraftModel::draft(std::span<const Request> requests) {
  std::vector<std::vector<uint32_t>> drafts(requests.size());
  std::vector<const Request*> rows;
  for (const Request& request : requests) {
    if (request.count == 0) continue;
    CRIA_TRY_ASSIGN(const bool is_ready, catch_up(request));
    if (!is_ready) continue;
    SamplingParams& params = params_[request.slot];
    params = *request.params;
    params.repetition_penalty = 1;
    params.presence_penalty = params.frequency_penalty = 0;
    const uint32_t vocab = engine_->draft_model()->config().vocab_size;
    std::erase_if(params.logit_bias, [&](const LogitBias& bias) { return bias.token >= vocab; });
    rows.push_back(&request);
  }
  // Row r of a step takes the token that row r of the one before it drew: whoever needs fewer tokens stands behind.
  std::ranges::stable_sort(rows, std::ranges::greater(), &Request::count);
  std::vector<gpu::PendingRead> reads;
  for (size_t left = rows.size(); left > 0;) {
    const auto index = static_cast<uint32_t>(reads.size());
    CRIA_TRY_ASSIGN(gpu::PendingRead read, step(std::span(rows).first(left), index));
    reads.push_back(std::move(read));
    while (left > 0 && rows[left - 1]->count <= index + 1) --left;
  }
  for (gpu::PendingRead& read : reads) {
    CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, read.values<kernels::SampledToken>());
    for (size_t row = 0; row < sampled.size(); ++row) {
      if (sampled[row].status != kernels::SamplerStatus::kOk) {
        return fail(ErrorCode::kNotFinite, "the model that drafts produced NaN or infinite logits");
      }
      drafts[static_cast<size_t>(rows[row] - requests.data())].push_back(sampled[row].token);
    }
  }
  const auto is_unknown = [&](uint32_t token) { return token >= engine_->config().vocab_size; };
  for (const Request* request : rows) {
    std::vector<uint32_t>& draft = drafts[static_cast<size_t>(request - requests.data())];
    std::vector<uint32_t>& held = held_[request->slot];
    held.assign(request->tokens.begin(), request->tokens.end());
    held.insert(held.end(), draft.begin(), draft.end() - 1);  // the last one was drawn, not read
    draft.erase(std::ranges::find_if(draft, is_unknown), draft.end());
  }
  return drafts;
}

}  // namespace cria::engine
