#include "engine/token_sampler.h"

namespace cria::engine {

Result<TokenSampler> TokenSampler::create(gpu::Device& device, uint32_t vocab_size, uint32_t slots) {
  TokenSampler sampler;
  sampler.vocab_size_ = vocab_size;
  sampler.slots_ = slots;
  CRIA_TRY_ASSIGN(sampler.sampler_, kernels::Sampler::create(device, vocab_size));
  const auto scratch = [&](std::string_view label, uint64_t bytes) {
    return device.create_buffer(label, bytes, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(sampler.rows_, scratch("sampler parameters", slots * sizeof(kernels::SamplerRow)));
  CRIA_TRY_ASSIGN(sampler.seen_, scratch("tokens seen", uint64_t{slots} * vocab_size * 4));
  CRIA_TRY_ASSIGN(sampler.results_, scratch("sampled tokens", slots * sizeof(kernels::SampledToken)));
  return sampler;
}

Status TokenSampler::begin(gpu::Device& device, uint32_t slot, std::span<const uint32_t> prompt,
                           std::span<const uint32_t> generated) {
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
    CRIA_TRY_ASSIGN(masks_, scratch("token masks", uint64_t{slots_} * sampler_.mask_words()));
    CRIA_TRY_ASSIGN(masked_rows_, scratch("masked rows", slots_));
  }
  CRIA_TRY(device.write(masks_, 0, std::as_bytes(std::span(masks))));
  CRIA_TRY(device.write(masked_rows_, 0, std::as_bytes(std::span(rows))));
  sampler_.record_masks(recorder, model.logits(), masks_, masked_rows_, static_cast<uint32_t>(rows.size()));
  return {};
}

Result<gpu::PendingRead> TokenSampler::record(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                              std::span<const Draw> draws) {
  CRIA_TRY(record_biases(device, recorder, model, draws));
  CRIA_TRY(record_masks(device, recorder, model, draws));
  std::vector<kernels::SamplerRow> rows;
  bool is_greedy = true;
  for (uint32_t index = 0; index < draws.size(); ++index) {
    kernels::SamplerRow& row =
        rows.emplace_back(sampler_row(*draws[index].params, draws[index].step, draws[index].slot));
    row.logits_row = row.token_index = index;
    is_greedy = is_greedy && row.temperature == 0;
  }
  const auto count = static_cast<uint32_t>(rows.size());
  CRIA_TRY(device.write(rows_, 0, std::as_bytes(std::span(rows))));
  sampler_.record(recorder, model.logits(), rows_, seen_, model.tokens(), results_, count, is_greedy);
  return recorder.read(results_, 0, count * sizeof(kernels::SampledToken));
}

}  // namespace cria::engine
