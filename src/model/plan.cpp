// Deciding, before anything is loaded, how a model is cut to fit a device's limits.
#include <algorithm>

#include "base/checked.h"
#include "kernels/matmul_parts.h"
#include "model/model.h"
#include "model/weight_table.h"

namespace cria::model {
namespace {

constexpr uint32_t kDefaultBatchTokens = 512;
/// A software device computes one token after the other; small chunks keep Ctrl-C prompt.
constexpr uint32_t kSoftwareBatchTokens = 128;

/// Of one slot, at most: parameters, results, biases.
constexpr uint64_t kSamplerBytes = 16 * 1024;

uint64_t row_bytes(uint32_t columns) { return uint64_t{kernels::padded_columns(columns)} * 4; }

/// Bytes of scratch for one token of a batch, summed over the buffers that Model::create_buffers makes.
uint64_t scratch_per_token(const ModelConfig& config) {
  const uint64_t hidden = row_bytes(config.hidden_size);
  return 3 * hidden + row_bytes(config.q_size() + 2 * config.kv_size()) + row_bytes(config.q_size()) +
         row_bytes(2 * config.intermediate_size) + row_bytes(config.intermediate_size) + uint64_t{config.head_dim} * 4 +
         4 + 8 + 16 + 4;
}

/// Bytes of the buffers that Model::create_step_kernels makes, for so many rows of x in integers.
uint64_t step_scratch(const gpu::Limits& limits, const ModelConfig& config, uint32_t slots, uint32_t integer_rows) {
  const kernels::AttentionShape shape{
      .heads = config.num_heads, .kv_heads = config.num_kv_heads, .head_dim = config.head_dim};
  if (!kernels::AttentionStep::supports(shape)) return 0;
  const uint64_t parts = kernels::AttentionStep::parts_size(limits, shape, slots) * 4;
  if (integer_rows < 2) return parts;
  return parts + integer_rows * kernels::BlockActivation::row_bytes(widest_input(config));
}

bool all_f32(const WeightTable& table, const FormatChoice& formats) {
  return std::ranges::all_of(all_matrices(table),
                             [&](const MatrixSpec* spec) { return formats(*spec) == kernels::WeightType::kF32; });
}

bool are_products_quantised(const WeightTable& table, const FormatChoice& formats) {
  return std::ranges::all_of(product_matrices(table),
                             [&](const MatrixSpec* spec) { return kernels::is_quantised(formats(*spec).type); });
}

/// Counts the streamed layers to memory of the host, and their places to the device's.
void move_layers_out(const gpu::Limits& limits, const WeightTable& table, const FormatChoice& formats,
                     MemoryPlan& plan) {
  std::vector<std::vector<uint64_t>> streamed;
  const auto layers = static_cast<uint32_t>(table.layers.size());
  for (uint32_t layer = 0; layer < layers; ++layer) {
    if (!is_streamed(layer, layers, plan.streamed_layers)) continue;
    streamed.push_back(buffer_sizes(limits, table.layers[layer], formats));
    for (const uint64_t bytes : streamed.back()) plan.host_weight_bytes += bytes;
  }
  plan.weight_bytes -= plan.host_weight_bytes;
  for (const std::vector<uint64_t>& place : place_sizes(streamed)) {
    for (const uint64_t bytes : place) plan.weight_bytes += bytes;
  }
}

/// What one binding, and the options, let the cache of all slots have.
uint64_t most_pages(const gpu::Limits& limits, const ModelConfig& config, const MemoryPlan& plan,
                    const ModelOptions& options) {
  const uint64_t bound = KvCache::binding_positions(limits, config, plan.kv_type) / kernels::kPageSize;
  if (options.cache_positions == 0) return bound;
  return std::min<uint64_t>(bound, divide_up(options.cache_positions, kernels::kPageSize));
}

Status check_row(std::string_view what, uint64_t bytes, uint64_t limit) {
  if (bytes <= limit) return {};
  return fail(ErrorCode::kOutOfMemory, "one row of {} takes {} bytes, more than the binding limit of {} bytes", what,
              with_commas(bytes), with_commas(limit));
}

}  // namespace

Result<ModelOptions::Kv> parse_kv_type(std::string_view text) {
  if (text == "auto") return ModelOptions::Kv::kAuto;
  if (text == "f32") return ModelOptions::Kv::kF32;
  if (text == "f16") return ModelOptions::Kv::kF16;
  if (text == "int8") return ModelOptions::Kv::kInt8;
  return fail(ErrorCode::kInvalidInput, "there is no KV type \"{}\": the types are auto, f32, f16 and int8", text);
}

Result<MemoryPlan> plan(const gpu::Limits& limits, bool is_software, const ModelConfig& config,
                        const FormatChoice& formats, const ModelOptions& options) {
  const WeightTable table = weight_table(config);
  MemoryPlan plan;
  using Kv = ModelOptions::Kv;
  switch (options.kv) {
    case Kv::kAuto: plan.kv_type = all_f32(table, formats) ? kernels::KvType::kF32 : kernels::KvType::kF16; break;
    case Kv::kF32: plan.kv_type = kernels::KvType::kF32; break;
    case Kv::kF16: plan.kv_type = kernels::KvType::kF16; break;
    case Kv::kInt8: plan.kv_type = kernels::KvType::kInt8; break;
  }
  if (plan.kv_type == kernels::KvType::kInt8 && config.head_dim % 8 != 0) {
    return fail(ErrorCode::kUnsupported,
                "a KV cache in int8 needs attention heads of a multiple of 8 elements, but this model's have {}",
                config.head_dim);
  }

  const uint64_t limit = std::min(limits.max_binding_bytes, limits.max_buffer_bytes);
  const uint64_t widest =
      std::max(row_bytes(2 * config.intermediate_size),
               std::max(row_bytes(config.q_size() + 2 * config.kv_size()), row_bytes(config.hidden_size)));
  CRIA_TRY(check_row("activations", widest, limit));
  CRIA_TRY(check_row("logits", row_bytes(config.vocab_size), limit));
  const uint32_t wanted = options.max_batch_tokens != 0 ? options.max_batch_tokens
                          : is_software                 ? kSoftwareBatchTokens
                                                        : kDefaultBatchTokens;

  const uint64_t positions = KvCache::binding_positions(limits, config, plan.kv_type);
  uint32_t context = options.max_context != 0 ? options.max_context : config.max_position_embeddings;
  if (options.cache_positions != 0) context = std::min(context, options.cache_positions);
  plan.max_context = static_cast<uint32_t>(std::min<uint64_t>(context, std::max<uint64_t>(positions, 1)));
  plan.context_limited_by_binding = plan.max_context < context;
  plan.max_batch_tokens = static_cast<uint32_t>(std::min<uint64_t>({wanted, limit / widest, plan.max_context}));
  plan.step_rows = std::max(options.slots, std::min(options.few_tokens, plan.max_batch_tokens));

  plan.streamed_layers = std::min(options.streamed_layers, config.num_layers);
  plan.streamed_kv = std::min(options.streamed_kv, config.num_layers);
  for (const MatrixSpec* spec : all_matrices(table)) {
    plan.weight_bytes += placed_bytes(*spec, formats);
  }
  for (const MatrixSpec* spec : product_matrices(table)) plan.step_weight_bytes += placed_bytes(*spec, formats);
  for (const VectorSpec* spec : all_vectors(table)) {
    plan.weight_bytes += uint64_t{spec->size} * 4;
    plan.step_weight_bytes += uint64_t{spec->size} * 4;
  }
  move_layers_out(limits, table, formats, plan);
  plan.kv_bytes_per_position = KvCache::bytes_per_position(config, plan.kv_type);
  plan.cache_pages = static_cast<uint32_t>(
      std::min<uint64_t>(uint64_t{divide_up(plan.max_context, kernels::kPageSize)} * options.slots,
                         most_pages(limits, config, plan, options)));
  const KvCache::Streamed streamed =
      streamed_cache(config, plan.streamed_kv, plan.max_batch_tokens, options.slots, plan.cache_pages);
  plan.kv_bytes = KvCache::device_bytes(config, plan.kv_type, plan.cache_pages, streamed);
  plan.host_kv_bytes =
      plan.kv_bytes_per_position / config.num_layers * plan.streamed_kv * plan.cache_pages * kernels::kPageSize;
  const uint32_t integer_rows = are_products_quantised(table, formats) ? plan.step_rows : 0;
  plan.scratch_bytes = scratch_per_token(config) * plan.max_batch_tokens +
                       step_scratch(limits, config, options.slots, integer_rows) + row_bytes(config.hidden_size) +
                       row_bytes(config.vocab_size);
  // Beside a step's scratch: the logits of further rows, for each slot the tokens seen and the sampler's words, and the
  // same for each drafted token.
  const uint64_t drafted = options.few_tokens > 0 ? plan.step_rows : 0;
  plan.working_bytes = gpu::Device::parameter_bytes(limits) + limits.max_upload_bytes +
                       (options.slots + drafted) * (uint64_t{config.vocab_size} * 4 + kSamplerBytes) +
                       uint64_t{plan.step_rows - 1} * (row_bytes(config.hidden_size) + row_bytes(config.vocab_size));
  if (!is_software) {
    const uint32_t rows =
        std::max({2 * config.intermediate_size, config.q_size() + 2 * config.kv_size(), config.hidden_size});
    plan.working_bytes += kernels::most_parts_size(rows) * 4;
  }
  if (options.slots > 1) plan.working_bytes += plan.kv_bytes_per_position * kernels::kPageSize;  // a page on its way
  return plan;
}

}  // namespace cria::model
