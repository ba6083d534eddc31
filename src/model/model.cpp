#include "model/model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <set>

#include "base/checked.h"
#include "model/synthetic.h"

namespace cria::model {
namespace {

using kernels::Activation;
using kernels::AttentionKernel;
using kernels::BlockActivation;

/// Up to this many tokens, attention runs one workgroup per query; beyond it, in tiles of queries.
constexpr uint32_t kDecodeTokens = 4;
/// From this many tokens on, prompts are read on matrix units, and from this many sequences on, decode steps.
constexpr uint32_t kMatrixTokens = 9;
constexpr uint32_t kMatrixStepTokens = 4;
/// From this many tokens on, quantised products that have one keep tokens in registers (matvec_few.wgsl), until matrix
/// units are faster.
constexpr uint32_t kFewTokens = 2;
/// Numbers of tokens, or fewer, that products on matrix units have kernels of their own for: decode steps; and prompts,
/// or the chunks of them that a server reads between steps. The largest passes have theirs, too.
constexpr std::array<uint32_t, 3> kStepSizes{16, 32, 64};
constexpr std::array<uint32_t, 2> kPromptSizes{128, 512};

Result<Activation> create_activation(gpu::Device& device, std::string_view label, uint32_t rows, uint32_t columns) {
  Activation activation{.buffer = {}, .columns = columns};
  CRIA_TRY_ASSIGN(activation.buffer,
                  device.create_buffer(label, uint64_t{rows} * activation.stride() * 4, gpu::MemoryKind::kScratch));
  return activation;
}

/// Whether what was recorded of a pass is handed over before this layer: 1, 4, 16, … So the GPU waits for the first one
/// only, and not until all are recorded, where it takes at least a third as long for a layer as recording one.
bool is_handed_over_before(uint32_t layer) { return std::has_single_bit(layer) && std::countr_zero(layer) % 2 == 0; }

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

/// The products of a decode step, by what is done before and after them.
kernels::MatVecSpec matvec_spec(const kernels::Matrix& weight, bool has_norm, kernels::MatVecOutput output) {
  return {.format = weight.format,
          .rows = weight.shards.size() == 1 ? weight.rows : 0,
          .columns = weight.columns,
          .has_bias = weight.bias.valid(),
          .has_norm = has_norm,
          .output = output};
}

using kernels::MatVecOutput;
kernels::MatVecSpec qkv_spec(const kernels::Matrix& w) { return matvec_spec(w, true, MatVecOutput::kStore); }
/// The same where the product turns queries and keys, and writes the cache.
kernels::MatVecSpec turned_spec(const kernels::Matrix& w, const kernels::StepHeads& heads) {
  kernels::MatVecSpec spec = matvec_spec(w, true, MatVecOutput::kRopeKv);
  spec.heads = heads;
  return spec;
}
kernels::MatVecSpec o_spec(const LayerWeights& w) { return matvec_spec(w.o, false, MatVecOutput::kAdd); }
kernels::MatVecSpec gate_up_spec(const LayerWeights& w) { return matvec_spec(w.gate_up, true, MatVecOutput::kSwiGlu); }
kernels::MatVecSpec down_spec(const LayerWeights& w) { return matvec_spec(w.down, false, MatVecOutput::kAdd); }
kernels::MatVecSpec output_spec(const kernels::Matrix& w) { return matvec_spec(w, true, MatVecOutput::kStore); }

/// Refuses what cannot fit before it is loaded: a driver for the CPU would take memory until the system ends us.
Status check_memory(const gpu::DeviceInfo& device, const MemoryPlan& plan) {
  const uint64_t needed = plan.weight_bytes + plan.scratch_bytes;
  if (device.memory_bytes == 0 || needed <= device.memory_bytes) return {};
  return fail(ErrorCode::kOutOfMemory, "the weights take {} bytes and scratch {}, more than the {} bytes of {}",
              with_commas(plan.weight_bytes), with_commas(plan.scratch_bytes), with_commas(device.memory_bytes),
              device.name);
}

}  // namespace

Batch Batch::of(uint32_t slot, uint32_t first, uint32_t count) {
  Batch batch;
  batch.positions.resize(count);
  std::iota(batch.positions.begin(), batch.positions.end(), first);
  batch.slots.assign(count, slot);
  batch.rope_length = first + count;
  return batch;
}

void Batch::output_all() {
  output_rows.resize(size());
  std::iota(output_rows.begin(), output_rows.end(), 0);
}

Result<Model> Model::load(gpu::Device& device, const formats::Checkpoint& checkpoint, const ModelConfig& config,
                          const ModelOptions& options, const std::function<void(uint64_t)>& on_progress) {
  return create(device, config, options, formats_from(checkpoint, options.weights),
                [&](const WeightTable& table, const LayerHook& on_layer) {
                  return load_weights(device, table, checkpoint, options.weights, on_progress, on_layer);
                });
}

Result<Model> Model::make_up(gpu::Device& device, const ModelConfig& config, const ModelOptions& options) {
  const FormatChoice formats = made_up_formats(options.weights);
  return create(device, config, options, formats, [&](const WeightTable& table, const LayerHook& on_layer) {
    return make_up_weights(device, table, formats, on_layer);
  });
}

Result<Model> Model::create(gpu::Device& device, const ModelConfig& config, const ModelOptions& options,
                            const FormatChoice& formats, const WeightSource& make_weights) {
  Model model;
  model.config_ = config;
  model.config_.rope.rounding = options.rope_rounding;
  CRIA_TRY_ASSIGN(model.plan_, plan(device.limits(), device.info().is_software(), config, formats, options));
  CRIA_TRY(check_memory(device.info(), model.plan_));
  model.few_tokens_ = std::min(options.few_tokens, model.plan_.max_batch_tokens);
  model.attention_shape_ = {.heads = config.num_heads,
                            .kv_heads = config.num_kv_heads,
                            .head_dim = config.head_dim,
                            .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)))};
  const auto move_out = [&](uint32_t index, LayerWeights& layer) -> Status {
    if (!is_streamed(index, config.num_layers, model.plan_.streamed_layers)) return {};
    return model.layer_stream_.move_out(device, index, layer);
  };
  CRIA_TRY_ASSIGN(model.weights_, make_weights(weight_table(config), move_out));
  CRIA_TRY(model.layer_stream_.make_places(device, model.weights_.layers));
  CRIA_TRY(model.create_kernels(device));
  Tuner tuner(device, options.tuning);
  CRIA_TRY(model.create_step_kernels(device, options, tuner));
  CRIA_TRY(model.create_matrix_kernels(device, options, tuner));
  tuner.save();
  CRIA_TRY(model.create_buffers(device, options));
  return model;
}

Status Model::create_kernels(gpu::Device& device) {
  CRIA_TRY_ASSIGN(kernels_.embedding, kernels::Embedding::create(device, weights_.embedding.format));
  CRIA_TRY_ASSIGN(kernels_.rms_norm, kernels::RmsNorm::create(device));
  if (kernels::RopeKv::supports(attention_shape_, plan_.kv_type)) {
    CRIA_TRY_ASSIGN(kernels_.rope_kv, kernels::RopeKv::create(device, plan_.kv_type, config_.head_dim));
  } else {
    CRIA_TRY_ASSIGN(kernels_.rope, kernels::Rope::create(device));
    CRIA_TRY_ASSIGN(kernels_.kv_write, kernels::KvWrite::create(device, plan_.kv_type, config_.head_dim));
  }
  CRIA_TRY_ASSIGN(kernels_.attention, kernels::Attention::create(device, plan_.kv_type, config_.head_dim));
  CRIA_TRY_ASSIGN(kernels_.swiglu, kernels::SwiGlu::create(device));
  CRIA_TRY_ASSIGN(kernels_.residual_add, kernels::ResidualAdd::create(device));
  CRIA_TRY_ASSIGN(kernels_.gather_rows, kernels::GatherRows::create(device));
  if (config_.qk_norm) {
    CRIA_TRY_ASSIGN(kernels_.head_norm, kernels::HeadNorm::create(device));
  }
  CRIA_TRY(create_linear(device, weights_.output()));
  for (const LayerWeights& layer : weights_.layers) {
    for (const kernels::Matrix& matrix : layer.qkv) CRIA_TRY(create_linear(device, matrix));
    for (const kernels::Matrix* matrix : {&layer.o, &layer.gate_up, &layer.down}) {
      CRIA_TRY(create_linear(device, *matrix));
    }
  }
  return {};
}

Status Model::exchange(gpu::Device& device, uint32_t layer, LayerMatrices& others) {
  LayerWeights& own = weights_.layers[layer];
  for (const auto& [matrix, other] :
       {std::pair(&own.o, &others.o), {&own.gate_up, &others.gate_up}, {&own.down, &others.down}}) {
    if (!*other) continue;
    CRIA_CHECK((*other)->rows == matrix->rows && (*other)->columns == matrix->columns);
    CRIA_TRY(create_linear(device, **other));
    std::swap(*matrix, **other);
  }
  return {};
}

Status Model::create_linear(gpu::Device& device, const kernels::Matrix& weight) {
  const bool known =
      std::ranges::any_of(kernels_.linear, [&](const LinearVariant& variant) { return variant.serves(weight); });
  if (known) return {};
  CRIA_TRY_ASSIGN(kernels::Linear op,
                  kernels::Linear::create(device, weight.format, weight.columns, weight.bias.valid()));
  kernels_.linear.push_back({weight.format, weight.columns, weight.bias.valid(), std::move(op)});
  return {};
}

namespace {

/// Kernels by spec with the matrices that each serves; it is measured on all of them in turn, as a pass reads them.
template <typename Spec>
struct Products {
  std::vector<std::pair<Spec, std::vector<const kernels::Matrix*>>> all;
  void add(const Spec& spec, const kernels::Matrix& matrix) {
    auto known = std::ranges::find_if(all, [&](const auto& product) { return product.first == spec; });
    if (known == all.end()) known = all.insert(known, {spec, {}});
    known->second.push_back(&matrix);
  }
};

using StepProducts = Products<kernels::MatVecSpec>;

/// Creates the kernels of products for up to so many tokens, cut as `choose` says.
template <typename Op, typename Choose>
Status create_ops(gpu::Device& device, const StepProducts& products, uint32_t tokens, const Choose& choose,
                  std::vector<std::pair<kernels::MatVecSpec, Op>>& ops) {
  for (const auto& [spec, matrices] : products.all) {
    CRIA_TRY_ASSIGN(const kernels::MatVecCut cut, choose(spec, matrices));
    CRIA_TRY_ASSIGN(Op op, Op::create(device, spec, tokens, cut));
    ops.emplace_back(spec, std::move(op));
  }
  return {};
}

kernels::MatMulSpec matmul_spec(const kernels::Matrix& weight, MatVecOutput output, uint32_t tokens) {
  return {.format = weight.format,
          .rows = weight.rows,
          .tokens = tokens,
          .columns = weight.columns,
          .has_bias = weight.bias.valid(),
          .output = output};
}

}  // namespace

/// None where a step's product of queries, keys and values cannot turn them itself: norms of heads come before, or the
/// device lacks what it takes, or a matrix is cut within a head.
std::optional<kernels::StepHeads> Model::step_heads(const gpu::Device& device) const {
  const kernels::StepHeads heads{.heads = attention_shape_.heads,
                                 .kv_heads = attention_shape_.kv_heads,
                                 .head_dim = attention_shape_.head_dim,
                                 .cache = plan_.kv_type};
  if (config_.qk_norm || !kernels::MatVec::supports(device, heads)) return {};
  for (const LayerWeights& layer : weights_.layers) {
    for (const kernels::Matrix& matrix : layer.qkv) {
      if (!turned_spec(matrix, heads).serves(matrix)) return {};
    }
  }
  return heads;
}

Status Model::create_step_kernels(gpu::Device& device, const ModelOptions& options, Tuner& tuner) {
  if (!kernels::AttentionStep::supports(attention_shape_)) return {};
  step_heads_ = step_heads(device);
  CRIA_TRY(create_step_products(device, tuner));
  using Variant = kernels::AttentionStep::Variant;
  std::vector<Variant> variants;
  if (step_heads_) variants.push_back(Variant::kReady);
  if (!step_heads_ || options.slots > 1) variants.push_back(Variant::kRaw);
  const bool makes_blocks = kernels::AttentionStep::makes_blocks(device, attention_shape_);
  if (options.slots > 1 && !kernels_.few.empty() && makes_blocks) variants.push_back(Variant::kRawToBlocks);
  CRIA_TRY_ASSIGN(kernels_.attention_step, kernels::AttentionStep::create(device, plan_.kv_type, attention_shape_,
                                                                          config_.qk_norm, options.slots, variants));
  CRIA_TRY_ASSIGN(attention_parts_, device.create_buffer("attention parts", kernels_.attention_step.parts_size() * 4,
                                                         gpu::MemoryKind::kScratch));
  return config_.qk_norm ? join_qk_norms(device) : Status();
}

Status Model::create_step_products(gpu::Device& device, Tuner& tuner) {
  StepProducts plain, turned, others;  // of queries, keys and values, as they come or turned; and the rest
  others.add(output_spec(weights_.output()), weights_.output());
  for (const LayerWeights& layer : weights_.layers) {
    for (const kernels::Matrix& matrix : layer.qkv) {
      plain.add(qkv_spec(matrix), matrix);
      if (step_heads_) turned.add(turned_spec(matrix, *step_heads_), matrix);
    }
    others.add(o_spec(layer), layer.o);
    others.add(gate_up_spec(layer), layer.gate_up);
    others.add(down_spec(layer), layer.down);
  }
  const auto serves_few = [&](const auto& product) {
    return !kernels::MatVecFew::candidate_cuts(device, product.first).empty();
  };
  const bool has_few = plan_.step_rows >= kFewTokens && std::ranges::all_of(others.all, serves_few) &&
                       std::ranges::all_of(plain.all, serves_few);
  const auto choose = [&](const auto& spec, const auto& matrices) { return tuner.choose(spec, matrices); };
  const uint32_t rows = has_few ? 1 : plan_.step_rows;
  CRIA_TRY(create_ops(device, others, rows, choose, kernels_.matvec));
  CRIA_TRY(create_ops(device, turned, rows, choose, kernels_.matvec));
  if (!step_heads_ || (few_tokens_ >= kFewTokens && !has_few)) {
    CRIA_TRY(create_ops(device, plain, rows, choose, kernels_.matvec));
  }
  if (!has_few) return {};
  const auto choose_few = [&](const auto& spec, const auto& matrices) { return tuner.choose_few(spec, matrices); };
  CRIA_TRY_ASSIGN(kernels_.x_blocks, kernels::XBlocks::create(device));
  CRIA_TRY(create_ops(device, others, plan_.step_rows, choose_few, kernels_.few));
  CRIA_TRY(create_ops(device, plain, plan_.step_rows, choose_few, kernels_.few));
  CRIA_TRY_ASSIGN(x_blocks_, BlockActivation::create(device, "x in blocks", widest_input(config_), plan_.step_rows));
  return {};
}

/// Leaves kernels_.matmul empty where any product of a layer has no kernel on matrix units.
Status Model::create_matrix_kernels(gpu::Device& device, const ModelOptions& options, Tuner& tuner) {
  using MatrixUnits = ModelOptions::MatrixUnits;
  if (options.matrix_units == MatrixUnits::kOff || plan_.max_batch_tokens < kMatrixTokens) return {};
  if (options.matrix_units == MatrixUnits::kAuto && device.info().is_software()) return {};
  if (plan_.step_rows >= least_matrix_step_tokens()) {
    const uint32_t most = std::bit_ceil(std::clamp(plan_.step_rows, kStepSizes.front(), kStepSizes.back()));
    std::ranges::copy_if(kStepSizes, std::back_inserter(matrix_tokens_),
                         [&](uint32_t tokens) { return tokens <= most && tokens < plan_.max_batch_tokens; });
  }
  const std::vector<uint32_t> step_sizes = matrix_tokens_;
  if (!step_sizes.empty()) matrix_step_tokens_ = step_sizes.back();
  std::ranges::copy_if(kPromptSizes, std::back_inserter(matrix_tokens_),
                       [&](uint32_t tokens) { return tokens < plan_.max_batch_tokens; });
  matrix_tokens_.push_back(plan_.max_batch_tokens);
  Products<kernels::MatMulSpec> products;
  for (const uint32_t tokens : matrix_tokens_) {
    for (const LayerWeights& layer : weights_.layers) {
      for (const kernels::Matrix& matrix : layer.qkv) {
        products.add(matmul_spec(matrix, MatVecOutput::kStore, tokens), matrix);
      }
      products.add(matmul_spec(layer.o, MatVecOutput::kAdd, tokens), layer.o);
      products.add(matmul_spec(layer.gate_up, MatVecOutput::kSwiGlu, tokens), layer.gate_up);
      products.add(matmul_spec(layer.down, MatVecOutput::kAdd, tokens), layer.down);
    }
  }
  for (const auto& [spec, matrices] : products.all) {
    if (!kernels::MatrixMatMul::supports(device.info(), spec.format)) return {};
  }
  const kernels::Matrix& output = weights_.output();
  if (kernels::MatrixMatMul::supports(device.info(), output.format)) {
    for (const uint32_t tokens : step_sizes) products.add(matmul_spec(output, MatVecOutput::kStore, tokens), output);
  }
  uint64_t parts_size = 0;
  for (const auto& [spec, matrices] : products.all) {
    CRIA_TRY_ASSIGN(const kernels::MatMulCut cut, tuner.choose(spec, matrices));
    CRIA_TRY_ASSIGN(kernels::MatrixMatMul op, kernels::MatrixMatMul::create(device, spec, cut));
    parts_size = std::max(parts_size, op.parts_size());
    kernels_.matmul.emplace_back(spec, std::move(op));
  }
  if (parts_size > 0) {
    CRIA_TRY_ASSIGN(product_parts_,
                    device.create_buffer("parts of products", parts_size * 4, gpu::MemoryKind::kScratch));
  }
  if (kernels::AttentionMatrix::supports(device, plan_.kv_type, config_.head_dim)) {
    CRIA_TRY_ASSIGN(kernels_.attention_matrix,
                    kernels::AttentionMatrix::create(device, plan_.kv_type, config_.head_dim));
  }
  return {};
}

/// Puts the two norms of each layer into one buffer, as a decode step binds them.
Status Model::join_qk_norms(gpu::Device& device) {
  const uint64_t bytes = uint64_t{config_.head_dim} * 4;
  gpu::Recorder recorder = device.record("q and k norms");
  for (const LayerWeights& layer : weights_.layers) {
    CRIA_TRY_ASSIGN(gpu::Buffer both, device.create_buffer("q and k norms", 2 * bytes, gpu::MemoryKind::kWeights));
    recorder.copy(layer.q_norm, 0, both, 0, bytes);
    recorder.copy(layer.k_norm, 0, both, bytes, bytes);
    qk_norms_.push_back(std::move(both));
  }
  return recorder.submit();
}

Status Model::create_buffers(gpu::Device& device, const ModelOptions& options) {
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
  CRIA_TRY_ASSIGN(uploads_.cos_sin, words("RoPE cos and sin", uint64_t{tokens} * config_.head_dim));
  CRIA_TRY_ASSIGN(uploads_.output_rows, words("output rows", tokens));
  CRIA_TRY_ASSIGN(uploads_.token_info, words("token info", uint64_t{tokens} * 2));
  CRIA_TRY_ASSIGN(uploads_.tiles, words("attention tiles", uint64_t{tokens} * 4));
  CRIA_TRY_ASSIGN(kv_cache_,
                  KvCache::create(device, config_, plan_.kv_type, plan_.max_context, options.slots,
                                  streamed_cache(config_, plan_.streamed_kv, tokens, options.slots, plan_.cache_pages),
                                  options.cache_positions));
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

namespace {

/// The kernel of a spec that there is one for.
template <typename Op>
const Op& find(const std::vector<std::pair<kernels::MatVecSpec, Op>>& ops, const kernels::MatVecSpec& spec) {
  const auto entry = std::ranges::find_if(ops, [&](const auto& known) { return known.first == spec; });
  CRIA_CHECK(entry != ops.end());
  return entry->second;
}

}  // namespace

void Model::linear(gpu::Recorder& recorder, const kernels::Matrix& weight, const Activation& x, const Activation& y,
                   uint32_t tokens) const {
  const auto variant =
      std::ranges::find_if(kernels_.linear, [&](const LinearVariant& entry) { return entry.serves(weight); });
  CRIA_CHECK(variant != kernels_.linear.end());
  variant->op.record(recorder, weight, x, y, tokens);
}

const kernels::MatVec& Model::matvec(const kernels::MatVecSpec& spec) const { return find(kernels_.matvec, spec); }

/// The product of a few tokens that a step would make of x by `spec`, whose norm is applied before.
void Model::few(gpu::Recorder& recorder, const kernels::MatVecSpec& spec, const kernels::Matrix& weight,
                const Activation& y, uint32_t tokens) const {
  find(kernels_.few, spec).record(recorder, weight, x_blocks_, y, tokens);
}

Status Model::upload_batch(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch, uint32_t attention_tile) {
  CRIA_CHECK(batch.size() > 0 && batch.size() <= plan_.max_batch_tokens && batch.slots.size() == batch.size());
  if (!batch.tokens.empty()) CRIA_TRY(device.write(tokens_, 0, std::as_bytes(std::span(batch.tokens))));
  std::vector<uint32_t> info;
  for (uint32_t t = 0; t < batch.size(); ++t) info.insert(info.end(), {batch.positions[t], batch.slots[t]});
  CRIA_TRY_ASSIGN(batch_.token_info, device.upload(recorder, uploads_.token_info, std::as_bytes(std::span(info))));
  batch_.tile_count = 0;
  if (attention_tile > 0) {
    const std::vector<uint32_t> tiles = attention_tiles(batch, attention_tile);
    CRIA_TRY_ASSIGN(batch_.tiles, device.upload(recorder, uploads_.tiles, std::as_bytes(std::span(tiles))));
    batch_.tile_count = static_cast<uint32_t>(tiles.size() / 4);
  }
  CRIA_TRY_ASSIGN(output_rows_,
                  device.upload(recorder, uploads_.output_rows, std::as_bytes(std::span(batch.output_rows))));
  const std::vector<float> table = rope_table_.rows(config_, batch.positions, batch.rope_length);
  CRIA_TRY_ASSIGN(cos_sin_, device.upload(recorder, uploads_.cos_sin, std::as_bytes(std::span(table))));
  batch_.tokens = batch.size();
  batch_.slot = batch.slots[0];
  batch_.position.reset();
  batch_.first_page.reset();
  if (batch.size() == 1) {
    batch_.position = batch.positions[0];
    batch_.first_page = kv_cache_.first_of_consecutive_pages(batch.slots[0]);
  }
  return {};
}

/// The kernel that was chosen for so many tokens or more; none where there is no such product.
const kernels::MatrixMatMul* Model::find_matmul(const kernels::Matrix& weight, MatVecOutput output,
                                                uint32_t tokens) const {
  if (matrix_tokens_.empty()) return nullptr;
  const uint32_t tuned = *std::ranges::lower_bound(matrix_tokens_, std::min(tokens, matrix_tokens_.back()));
  const kernels::MatMulSpec spec = matmul_spec(weight, output, tuned);
  const auto entry = std::ranges::find_if(kernels_.matmul, [&](const auto& known) { return known.first == spec; });
  return entry == kernels_.matmul.end() ? nullptr : &entry->second;
}

void Model::matmul(gpu::Recorder& recorder, const kernels::Matrix& weight, MatVecOutput output, const Activation& x,
                   const Activation& y, uint32_t tokens) const {
  const kernels::MatrixMatMul* op = find_matmul(weight, output, tokens);
  CRIA_CHECK(op != nullptr);
  op->record(recorder, weight, x, y, tokens, product_parts_);
}

/// From queries, keys and values in scratch_.qkv to what the heads found.
void Model::record_attention(gpu::Recorder& recorder, uint32_t index, const Activation& attended) {
  const LayerWeights& weights = weights_.layers[index];
  const kernels::KvLayer& cache = kv_cache_.layer(index);
  const kernels::AttentionShape& shape = attention_shape_;
  const uint32_t tokens = batch_.tokens;
  const float epsilon = config_.rms_norm_eps;
  const bool few = tokens <= std::max(kDecodeTokens, few_tokens_) && !attended.is_half;
  auto& s = scratch_;
  if (config_.qk_norm) {
    kernels_.head_norm.record(recorder, s.qkv, weights.q_norm, 0, shape.heads, shape.head_dim, tokens, epsilon);
    kernels_.head_norm.record(recorder, s.qkv, weights.k_norm, shape.q_size(), shape.kv_heads, shape.head_dim, tokens,
                              epsilon);
  }
  if (kernels_.rope_kv) {
    kernels_.rope_kv->record(recorder, shape, s.qkv, cos_sin_, batch_, cache);
  } else {
    kernels_.rope.record(recorder, s.qkv, cos_sin_, shape.heads + shape.kv_heads, shape.head_dim, tokens);
    kernels_.kv_write.record(recorder, shape, s.qkv, batch_, cache);
  }
  const uint32_t window = config_.sliding_window[index];
  if (attended.is_half && kernels_.attention_matrix) {
    return kernels_.attention_matrix->record(recorder, shape, s.qkv, batch_, cache, window, attended);
  }
  kernels_.attention.record(recorder, few ? AttentionKernel::kDecode : AttentionKernel::kPrefill, shape, s.qkv, batch_,
                            cache, window, attended);
}

const Activation& Model::product_input(Product product) const {
  switch (product) {
    case Product::kO: return scratch_.attended;
    case Product::kGateUp: return scratch_.normed;
    case Product::kDown: break;
  }
  return scratch_.activated;
}

void Model::record_layer(gpu::Recorder& recorder, uint32_t index, std::optional<Product> before) {
  const LayerWeights& weights = weights_.layers[index];
  const uint32_t tokens = batch_.tokens;
  const float epsilon = config_.rms_norm_eps;
  auto& s = scratch_;

  kernels_.rms_norm.record(recorder, s.hidden, weights.input_norm, s.normed, tokens, epsilon);
  for (const kernels::Matrix& matrix : weights.qkv) linear(recorder, matrix, s.normed, s.qkv, tokens);
  record_attention(recorder, index, s.attended);
  if (before == Product::kO) return;
  linear(recorder, weights.o, s.attended, s.projected, tokens);
  kernels_.residual_add.record(recorder, s.projected, s.hidden, tokens);

  kernels_.rms_norm.record(recorder, s.hidden, weights.mlp_norm, s.normed, tokens, epsilon);
  if (before == Product::kGateUp) return;
  linear(recorder, weights.gate_up, s.normed, s.gate_up, tokens);
  kernels_.swiglu.record(recorder, s.gate_up, s.activated, tokens);
  if (before == Product::kDown) return;
  linear(recorder, weights.down, s.activated, s.projected, tokens);
  kernels_.residual_add.record(recorder, s.projected, s.hidden, tokens);
}

/// The same on matrix units, around its attention: what they multiply is in f16.
void Model::record_matrix_layer(gpu::Recorder& recorder, uint32_t index, const RecordAttention& record_attention) {
  const LayerWeights& weights = weights_.layers[index];
  const uint32_t tokens = batch_.tokens;
  const float epsilon = config_.rms_norm_eps;
  const Activation normed = scratch_.normed.half();
  const Activation attended = scratch_.attended.half();
  const Activation activated = scratch_.activated.half();
  auto& s = scratch_;

  kernels_.rms_norm.record(recorder, s.hidden, weights.input_norm, normed, tokens, epsilon);
  for (const kernels::Matrix& matrix : weights.qkv) {
    matmul(recorder, matrix, MatVecOutput::kStore, normed, s.qkv, tokens);
  }
  record_attention(attended);
  matmul(recorder, weights.o, MatVecOutput::kAdd, attended, s.hidden, tokens);

  kernels_.rms_norm.record(recorder, s.hidden, weights.mlp_norm, normed, tokens, epsilon);
  matmul(recorder, weights.gate_up, MatVecOutput::kSwiGlu, normed, activated, tokens);
  matmul(recorder, weights.down, MatVecOutput::kAdd, activated, s.hidden, tokens);
}

/// True for one new token each of different sequences: what the kernels of a decode step serve.
bool Model::is_step(const Batch& batch) const {
  if (!attention_parts_.valid() || batch.size() > kv_cache_.slots()) return false;
  const std::set<uint32_t> slots(batch.slots.begin(), batch.slots.end());
  return slots.size() == batch.size();
}

/// True for drafted tokens that are to be verified, and other short pieces of texts, where such are expected: reading
/// the weights is most of their work, as it is of a step's.
bool Model::is_few(const Batch& batch) const { return attention_parts_.valid() && batch.size() <= few_tokens_; }

/// From so many tokens on, decode steps run on matrix units.
uint32_t Model::least_matrix_step_tokens() const {
  return kernels_.few.empty() ? kMatrixStepTokens : kernels::MatVecFew::kMaxTokens + 1;
}

/// True where steps of so many tokens run on matrix units.
bool Model::is_for_matrix_units(uint32_t tokens) const {
  return !kernels_.matmul.empty() && tokens >= least_matrix_step_tokens() && tokens <= matrix_step_tokens_;
}

/// True where the products of so many tokens of a step keep them in registers.
bool Model::has_few_products(uint32_t tokens) const {
  return !kernels_.few.empty() && tokens >= kFewTokens && tokens <= plan_.step_rows && !is_for_matrix_units(tokens);
}

bool Model::uses_matrix_units(const Batch& batch) const {
  if (is_few(batch) && is_for_matrix_units(batch.size())) return true;
  return !kernels_.matmul.empty() && batch.size() >= kMatrixTokens;
}

/// With `to_blocks` the result goes to x_blocks_ where a kernel can do that; true where it did.
bool Model::record_attention_step(gpu::Recorder& recorder, uint32_t index, uint32_t longest, bool is_ready,
                                  bool to_blocks, const Activation& attended) {
  const gpu::Buffer no_norms;
  return kernels_.attention_step.record(recorder,
                                        {.qkv = scratch_.qkv,
                                         .is_ready = is_ready,
                                         .batch = batch_,
                                         .layer = kv_cache_.layer(index),
                                         .cos_sin = cos_sin_,
                                         .norms = qk_norms_.empty() ? no_norms : qk_norms_[index],
                                         .epsilon = config_.rms_norm_eps,
                                         .window = config_.sliding_window[index],
                                         .longest = longest,
                                         .parts = attention_parts_,
                                         .blocks = to_blocks ? &x_blocks_ : nullptr},
                                        attended);
}

/// A layer whose products read the weights once for a few tokens, around its attention. With `turns` the first product
/// turns queries and keys, and writes the cache.
void Model::record_products(gpu::Recorder& recorder, uint32_t index, bool turns,
                            const RecordFewAttention& record_attention) {
  if (has_few_products(batch_.tokens)) return record_few_products(recorder, index, record_attention);
  const LayerWeights& weights = weights_.layers[index];
  const uint32_t tokens = batch_.tokens;
  const kernels::NormOperand input_norm{weights.input_norm, config_.rms_norm_eps};
  const kernels::NormOperand mlp_norm{weights.mlp_norm, config_.rms_norm_eps};
  auto& s = scratch_;

  std::optional<kernels::RopeKvOperand> rope;
  if (turns) rope.emplace(cos_sin_, batch_, kv_cache_.layer(index));
  for (const kernels::Matrix& matrix : weights.qkv) {
    const kernels::MatVecSpec spec = turns ? turned_spec(matrix, *step_heads_) : qkv_spec(matrix);
    matvec(spec).record(recorder, matrix, s.hidden, input_norm, s.qkv, tokens, rope);
  }
  record_attention();
  matvec(o_spec(weights)).record(recorder, weights.o, s.attended, {}, s.hidden, tokens);
  matvec(gate_up_spec(weights)).record(recorder, weights.gate_up, s.hidden, mlp_norm, s.activated, tokens);
  matvec(down_spec(weights)).record(recorder, weights.down, s.activated, {}, s.hidden, tokens);
}

/// The same for quantised weights, x of each product quantised once for all tokens.
void Model::record_few_products(gpu::Recorder& recorder, uint32_t index, const RecordFewAttention& record_attention) {
  const LayerWeights& weights = weights_.layers[index];
  const uint32_t tokens = batch_.tokens;
  const kernels::NormOperand input_norm{weights.input_norm, config_.rms_norm_eps};
  const kernels::NormOperand mlp_norm{weights.mlp_norm, config_.rms_norm_eps};
  auto& s = scratch_;

  kernels_.x_blocks.record(recorder, s.hidden, input_norm, x_blocks_, tokens);
  for (const kernels::Matrix& matrix : weights.qkv) few(recorder, qkv_spec(matrix), matrix, s.qkv, tokens);
  if (!record_attention()) kernels_.x_blocks.record(recorder, s.attended, {}, x_blocks_, tokens);
  few(recorder, o_spec(weights), weights.o, s.hidden, tokens);
  kernels_.x_blocks.record(recorder, s.hidden, mlp_norm, x_blocks_, tokens);
  few(recorder, gate_up_spec(weights), weights.gate_up, s.activated, tokens);
  kernels_.x_blocks.record(recorder, s.activated, {}, x_blocks_, tokens);
  few(recorder, down_spec(weights), weights.down, s.hidden, tokens);
}

void Model::record_step_layer(gpu::Recorder& recorder, uint32_t index, uint32_t longest) {
  const bool has_few = has_few_products(batch_.tokens);
  const bool turns = step_heads_.has_value() && !has_few;
  record_products(recorder, index, turns, [&] {
    return record_attention_step(recorder, index, longest, turns, /*to_blocks=*/has_few, scratch_.attended);
  });
}

/// Several tokens of a sequence: all of their keys are in the cache before the first query looks there.
void Model::record_few_layer(gpu::Recorder& recorder, uint32_t index) {
  record_products(recorder, index, false, [&] {
    record_attention(recorder, index, scratch_.attended);
    return false;
  });
}

void Model::record_output(gpu::Recorder& recorder, uint32_t outputs) {
  auto& s = scratch_;
  kernels_.gather_rows.record(recorder, s.hidden, output_rows_, s.gathered, outputs);
  if (has_few_products(outputs)) return record_few_logits(recorder, s.gathered, outputs);
  const kernels::MatrixMatMul* matmul =
      outputs >= kMatrixStepTokens ? find_matmul(weights_.output(), MatVecOutput::kStore, outputs) : nullptr;
  const Activation normed = matmul != nullptr ? s.normed.half() : s.normed;
  kernels_.rms_norm.record(recorder, s.gathered, weights_.final_norm, normed, outputs, config_.rms_norm_eps);
  if (matmul != nullptr) return matmul->record(recorder, weights_.output(), normed, logits_, outputs, product_parts_);
  linear(recorder, weights_.output(), normed, logits_, outputs);
}

Status Model::record_hidden_sum(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch) {
  if (!hidden_sums_.buffer.valid()) {
    CRIA_TRY_ASSIGN(kernels_.sum_rows, kernels::SumRows::create(device));
    CRIA_TRY_ASSIGN(hidden_sums_, create_activation(device, "hidden sums", kv_cache_.slots(), config_.hidden_size));
  }
  kernels_.rms_norm.record(recorder, scratch_.hidden, weights_.final_norm, scratch_.normed, batch.size(),
                           config_.rms_norm_eps);
  kernels_.sum_rows.record(recorder, scratch_.normed, hidden_sums_, batch.size(), batch.slots[0],
                           batch.positions[0] == 0);
  return {};
}

void Model::record_layers(gpu::Recorder& recorder, bool in_pieces, const std::function<void(uint32_t)>& record) const {
  for (uint32_t index = 0; index < config_.num_layers; ++index) {
    if (in_pieces && is_handed_over_before(index)) recorder.split();
    layer_stream_.before_layer(recorder, index);
    kv_cache_.stream().before_layer(recorder, index);
    record(index);
    kv_cache_.stream().after_layer(recorder, index);
  }
}

void Model::record_prompt(gpu::Recorder& recorder, bool matrix_units, uint32_t outputs) {
  record_layers(recorder, true, [&](uint32_t index) {
    if (matrix_units) {
      record_matrix_layer(recorder, index,
                          [&](const Activation& attended) { record_attention(recorder, index, attended); });
    } else {
      record_layer(recorder, index);
    }
  });
  if (outputs > 0) record_output(recorder, outputs);
}

/// The logits of a few rows of `hidden`.
void Model::record_few_logits(gpu::Recorder& recorder, const Activation& hidden, uint32_t rows) {
  const kernels::NormOperand final_norm{weights_.final_norm, config_.rms_norm_eps};
  kernels_.x_blocks.record(recorder, hidden, final_norm, x_blocks_, rows);
  few(recorder, output_spec(weights_.output()), weights_.output(), logits_, rows);
}

/// The logits after each token.
void Model::record_step_output(gpu::Recorder& recorder) {
  if (has_few_products(batch_.tokens)) return record_few_logits(recorder, scratch_.hidden, batch_.tokens);
  const kernels::Matrix& output = weights_.output();
  const kernels::NormOperand final_norm{weights_.final_norm, config_.rms_norm_eps};
  matvec(output_spec(output)).record(recorder, output, scratch_.hidden, final_norm, logits_, batch_.tokens);
}

void Model::record_few(gpu::Recorder& recorder, uint32_t outputs) {
  record_layers(recorder, true, [&](uint32_t index) { record_few_layer(recorder, index); });
  if (outputs == batch_.tokens) {
    record_step_output(recorder);
  } else if (outputs > 0) {
    record_output(recorder, outputs);
  }
}

void Model::record_step(gpu::Recorder& recorder, uint32_t longest, uint32_t outputs) {
  const uint32_t tokens = batch_.tokens;
  const bool on_matrix_units = is_for_matrix_units(tokens);
  record_layers(recorder, false, [&](uint32_t index) {
    if (on_matrix_units) {
      record_matrix_layer(recorder, index, [&](const Activation& attended) {
        record_attention_step(recorder, index, longest, false, false, attended);
      });
    } else {
      record_step_layer(recorder, index, longest);
    }
  });
  if (outputs == tokens && !on_matrix_units) {
    record_step_output(recorder);
  } else if (outputs > 0) {
    record_output(recorder, outputs);
  }
}

Status Model::forward(gpu::Device& device, gpu::Recorder& recorder, const Batch& batch) {
  const auto outputs = static_cast<uint32_t>(batch.output_rows.size());
  if (outputs > 0) CRIA_TRY(reserve_output_rows(device, outputs));
  const bool step = !batch.only_layer && is_step(batch);
  const bool matrix_units = !batch.only_layer && !step && uses_matrix_units(batch);
  const uint32_t attention_tile = matrix_units && kernels_.attention_matrix ? kernels_.attention_matrix->tile_tokens()
                                                                            : kernels_.attention.tile_tokens();
  CRIA_TRY(upload_batch(device, recorder, batch, step ? 0 : attention_tile));
  CRIA_TRY(kv_cache_.begin_pass(device, recorder, batch.slots, batch.positions));
  if (batch.only_layer.value_or(0) == 0) {
    kernels_.embedding.record(recorder, weights_.embedding, tokens_, scratch_.hidden, batch.size());
  }
  if (batch.only_layer) {
    CRIA_CHECK(*batch.only_layer < config_.num_layers && outputs == 0 && !batch.sums_hidden);
    layer_stream_.bring(recorder, *batch.only_layer);
    kv_cache_.stream().bring(recorder, *batch.only_layer);
    record_layer(recorder, *batch.only_layer, batch.before);
    kv_cache_.stream().after_layer(recorder, *batch.only_layer);
  } else if (step) {
    record_step(recorder, *std::ranges::max_element(batch.positions) + 1, outputs);
  } else if (!matrix_units && is_few(batch)) {
    record_few(recorder, outputs);
  } else {
    record_prompt(recorder, matrix_units, outputs);
  }
  return batch.sums_hidden ? record_hidden_sum(device, recorder, batch) : Status();
}

}  // namespace cria::model
