#include "model/model.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/synthetic.h"

namespace cria::model {
namespace {

using kernels::Activation;
using kernels::AttentionKernel;

/// Up to this many tokens, attention runs one workgroup per query; beyond it, in tiles of queries.
constexpr uint32_t kDecodeTokens = 4;

Result<Activation> create_activation(gpu::Device& device, std::string_view label, uint32_t rows, uint32_t columns) {
  Activation activation{.buffer = {}, .columns = columns};
  CRIA_TRY_ASSIGN(activation.buffer,
                  device.create_buffer(label, uint64_t{rows} * activation.stride() * 4, gpu::MemoryKind::kScratch));
  return activation;
}

Status write_words(gpu::Device& device, const gpu::Buffer& buffer, const std::vector<uint32_t>& words) {
  return device.write(buffer, 0, std::as_bytes(std::span(words)));
}

/// cos and sin of every token's angles, f32 [tokens, head_dim / 2, 2]. Angles are products in f32, as
/// the checkpoints were trained with; their cosines and sines are exact to f32.
std::vector<float> rope_table(const ModelConfig& config, const Batch& batch) {
  const RopeFrequencies rope = rope_frequencies(config, batch.rope_length);
  std::vector<float> table;
  table.reserve(batch.positions.size() * config.head_dim);
  for (const uint32_t position : batch.positions) {
    for (const float frequency : rope.inverse_frequencies) {
      const double angle = static_cast<float>(position) * frequency;
      table.push_back(static_cast<float>(std::cos(angle) * rope.attention_factor));
      table.push_back(static_cast<float>(std::sin(angle) * rope.attention_factor));
    }
  }
  return table;
}

/// Cuts the batch into tiles: up to `tile_tokens` consecutive tokens of one sequence.
std::vector<uint32_t> attention_tiles(const Batch& batch, uint32_t tile_tokens) {
  std::vector<uint32_t> tiles;
  for (uint32_t first = 0; first < batch.size();) {
    uint32_t count = 1;
    while (count < tile_tokens && first + count < batch.size() && batch.slots[first + count] == batch.slots[first] &&
           batch.positions[first + count] == batch.positions[first] + count) {
      ++count;
    }
    tiles.insert(tiles.end(), {first, count, batch.slots[first], batch.positions[first]});
    first += count;
  }
  return tiles;
}

/// Refuses what cannot fit before it is loaded: a driver for the CPU would take memory until the system ends us.
Status check_memory(const gpu::DeviceInfo& device, const MemoryPlan& plan) {
  const uint64_t needed = plan.weight_bytes + plan.scratch_bytes;
  if (device.memory_bytes == 0 || needed <= device.memory_bytes) return {};
  return fail(ErrorCode::kOutOfMemory, "the weights take {} bytes and scratch {}, more than the {} bytes of {}",
              with_commas(plan.weight_bytes), with_commas(plan.scratch_bytes), with_commas(device.memory_bytes),
              device.name);
}

}  // namespace

Result<Model> Model::load(gpu::Device& device, const formats::HuggingFaceFolder& folder, const ModelConfig& config,
                          const ModelOptions& options, const std::function<void(uint64_t)>& on_progress) {
  return create(device, config, options, types_from(folder, options.precision), [&](const WeightTable& table) {
    return load_weights(device, table, folder, options.precision, on_progress);
  });
}

Result<Model> Model::make_up(gpu::Device& device, const ModelConfig& config, const ModelOptions& options) {
  const TypeChoice types = made_up_types(options.precision);
  return create(device, config, options, types,
                [&](const WeightTable& table) { return make_up_weights(device, table, types); });
}

Result<Model> Model::create(gpu::Device& device, const ModelConfig& config, const ModelOptions& options,
                            const TypeChoice& types, const WeightSource& make_weights) {
  Model model;
  model.config_ = config;
  model.config_.rope.rounding = options.rope_rounding;
  CRIA_TRY_ASSIGN(model.plan_, plan(device.limits(), device.info().is_software(), config, types, options));
  CRIA_TRY(check_memory(device.info(), model.plan_));
  model.attention_shape_ = {.heads = config.num_heads,
                            .kv_heads = config.num_kv_heads,
                            .head_dim = config.head_dim,
                            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)))};
  CRIA_TRY_ASSIGN(model.weights_, make_weights(weight_table(config)));
  CRIA_TRY(model.create_kernels(device));
  CRIA_TRY(model.create_buffers(device, options.slots));
  return model;
}

Status Model::create_kernels(gpu::Device& device) {
  CRIA_TRY_ASSIGN(kernels_.embedding, kernels::Embedding::create(device, weights_.embedding.type));
  CRIA_TRY_ASSIGN(kernels_.rms_norm, kernels::RmsNorm::create(device));
  CRIA_TRY_ASSIGN(kernels_.rope, kernels::Rope::create(device));
  CRIA_TRY_ASSIGN(kernels_.kv_write, kernels::KvWrite::create(device, plan_.kv_type));
  CRIA_TRY_ASSIGN(kernels_.attention, kernels::Attention::create(device, plan_.kv_type, config_.head_dim));
  CRIA_TRY_ASSIGN(kernels_.swiglu, kernels::SwiGlu::create(device));
  CRIA_TRY_ASSIGN(kernels_.residual_add, kernels::ResidualAdd::create(device));
  CRIA_TRY_ASSIGN(kernels_.gather_rows, kernels::GatherRows::create(device));
  if (config_.qk_norm) {
    CRIA_TRY_ASSIGN(kernels_.head_norm, kernels::HeadNorm::create(device));
  }
  std::vector<const kernels::Matrix*> matrices = {&weights_.output()};
  for (const LayerWeights& layer : weights_.layers) {
    matrices.insert(matrices.end(), {&layer.qkv, &layer.o, &layer.gate_up, &layer.down});
  }
  for (const kernels::Matrix* matrix : matrices) {
    const std::pair variant(matrix->type, matrix->bias.valid());
    const bool known = std::any_of(kernels_.linear.begin(), kernels_.linear.end(),
                                   [&](const auto& entry) { return entry.first == variant; });
    if (known) continue;
    CRIA_TRY_ASSIGN(kernels::Linear op, kernels::Linear::create(device, matrix->type, matrix->bias.valid()));
    kernels_.linear.emplace_back(variant, std::move(op));
  }
  return {};
}

Status Model::create_buffers(gpu::Device& device, uint32_t slots) {
  const uint32_t tokens = plan_.max_batch_tokens;
  const uint32_t hidden = config_.hidden_size;
  CRIA_TRY_ASSIGN(scratch_.hidden, create_activation(device, "hidden", tokens, hidden));
  CRIA_TRY_ASSIGN(scratch_.normed, create_activation(device, "normed", tokens, hidden));
  CRIA_TRY_ASSIGN(scratch_.qkv, create_activation(device, "qkv", tokens, attention_shape_.qkv_size()));
  CRIA_TRY_ASSIGN(scratch_.attended, create_activation(device, "attended", tokens, attention_shape_.q_size()));
  CRIA_TRY_ASSIGN(scratch_.projected, create_activation(device, "projected", tokens, hidden));
  CRIA_TRY_ASSIGN(scratch_.gate_up, create_activation(device, "gate_up", tokens, 2 * config_.intermediate_size));
  CRIA_TRY_ASSIGN(scratch_.activated, create_activation(device, "activated", tokens, config_.intermediate_size));
  const auto words = [&](std::string_view label, uint64_t count) {
    return device.create_buffer(label, count * 4, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(tokens_, words("tokens", tokens));
  CRIA_TRY_ASSIGN(cos_sin_, words("RoPE cos and sin", uint64_t{tokens} * config_.head_dim));
  CRIA_TRY_ASSIGN(output_rows_, words("output rows", tokens));
  CRIA_TRY_ASSIGN(batch_.token_info, words("token info", uint64_t{tokens} * 2));
  CRIA_TRY_ASSIGN(batch_.tiles, words("attention tiles", uint64_t{tokens} * 4));
  CRIA_TRY_ASSIGN(kv_cache_, KvCache::create(device, config_, plan_.kv_type, plan_.max_context, slots));
  batch_.page_table = kv_cache_.page_table();
  batch_.pages_per_slot = kv_cache_.pages_per_slot();
  return reserve_output_rows(device, 1);
}

Status Model::reserve_output_rows(gpu::Device& device, uint32_t rows) {
  if (logits_.buffer.valid() && logits_.buffer.size_bytes() >= uint64_t{rows} * logits_.stride() * 4) return {};
  CRIA_TRY_ASSIGN(scratch_.gathered, create_activation(device, "gathered", rows, config_.hidden_size));
  CRIA_TRY_ASSIGN(logits_, create_activation(device, "logits", rows, config_.vocab_size));
  return {};
}

void Model::linear(gpu::Recorder& recorder, const kernels::Matrix& weight, const Activation& x, const Activation& y,
                   uint32_t tokens) const {
  const std::pair variant(weight.type, weight.bias.valid());
  for (const auto& [key, op] : kernels_.linear) {
    if (key == variant) return op.record(recorder, weight, x, y, tokens);
  }
}

Status Model::upload_batch(gpu::Device& device, const Batch& batch) {
  CRIA_CHECK(batch.size() > 0 && batch.size() <= plan_.max_batch_tokens && batch.slots.size() == batch.size());
  if (!batch.tokens.empty()) CRIA_TRY(write_words(device, tokens_, batch.tokens));
  std::vector<uint32_t> info;
  for (uint32_t t = 0; t < batch.size(); ++t) info.insert(info.end(), {batch.positions[t], batch.slots[t]});
  CRIA_TRY(write_words(device, batch_.token_info, info));
  const std::vector<uint32_t> tiles = attention_tiles(batch, kernels_.attention.tile_tokens());
  CRIA_TRY(write_words(device, batch_.tiles, tiles));
  CRIA_TRY(write_words(device, output_rows_, batch.output_rows));
  const std::vector<float> table = rope_table(config_, batch);
  CRIA_TRY(device.write(cos_sin_, 0, std::as_bytes(std::span(table))));
  batch_.tokens = batch.size();
  batch_.tile_count = static_cast<uint32_t>(tiles.size() / 4);
  return {};
}

void Model::record_layer(gpu::Recorder& recorder, uint32_t index) {
  const LayerWeights& weights = weights_.layers[index];
  const kernels::KvLayer& cache = kv_cache_.layer(index);
  const kernels::AttentionShape& shape = attention_shape_;
  const uint32_t tokens = batch_.tokens;
  const float epsilon = config_.rms_norm_eps;
  const auto kernel = tokens <= kDecodeTokens ? AttentionKernel::kDecode : AttentionKernel::kPrefill;
  auto& s = scratch_;

  kernels_.rms_norm.record(recorder, s.hidden, weights.input_norm, s.normed, tokens, epsilon);
  linear(recorder, weights.qkv, s.normed, s.qkv, tokens);
  if (config_.qk_norm) {
    kernels_.head_norm.record(recorder, s.qkv, weights.q_norm, 0, shape.heads, shape.head_dim, tokens, epsilon);
    kernels_.head_norm.record(recorder, s.qkv, weights.k_norm, shape.q_size(), shape.kv_heads, shape.head_dim, tokens,
                              epsilon);
  }
  kernels_.rope.record(recorder, s.qkv, cos_sin_, shape.heads + shape.kv_heads, shape.head_dim, tokens);
  kernels_.kv_write.record(recorder, shape, s.qkv, batch_, cache);
  kernels_.attention.record(recorder, kernel, shape, s.qkv, batch_, cache, config_.sliding_window[index], s.attended);
  linear(recorder, weights.o, s.attended, s.projected, tokens);
  kernels_.residual_add.record(recorder, s.projected, s.hidden, tokens);

  kernels_.rms_norm.record(recorder, s.hidden, weights.mlp_norm, s.normed, tokens, epsilon);
  linear(recorder, weights.gate_up, s.normed, s.gate_up, tokens);
  kernels_.swiglu.record(recorder, s.gate_up, s.activated, tokens);
  linear(recorder, weights.down, s.activated, s.projected, tokens);
  kernels_.residual_add.record(recorder, s.projected, s.hidden, tokens);
}

Status Model::forward(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch) {
  const auto outputs = static_cast<uint32_t>(batch.output_rows.size());
  if (outputs > 0) CRIA_TRY(reserve_output_rows(device, outputs));
  CRIA_TRY(upload_batch(device, batch));
  auto& s = scratch_;
  kernels_.embedding.record(recorder, weights_.embedding, tokens_, s.hidden, batch.size());
  for (uint32_t index = 0; index < config_.num_layers; ++index) record_layer(recorder, index);
  if (outputs == 0) return {};
  kernels_.gather_rows.record(recorder, s.hidden, output_rows_, s.gathered, outputs);
  kernels_.rms_norm.record(recorder, s.gathered, weights_.final_norm, s.normed, outputs, config_.rms_norm_eps);
  linear(recorder, weights_.output(), s.normed, logits_, outputs);
  return {};
}

}  // namespace cria::model
