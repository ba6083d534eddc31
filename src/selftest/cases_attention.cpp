// Cases of kv_write and of attention over the paged cache, decode and prefill.
//
// Of the cache only what a query may see is set: every other position, page and entry of the page table is
// poison. The pages of a sequence lie scattered, and the sequences' slots stand in another order than their tokens.
#include <algorithm>
#include <cmath>

#include "kernels/attention_matrix.h"
#include "kernels/rope_kv.h"
#include "selftest/attention_batch.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::AttentionKernel;
using kernels::KvType;

/// Checks what a kernel left in the cache.
Result<CaseOutcome> check_cache(gpu::Device& device, const CacheTarget& target, const std::vector<double>& right,
                                const std::vector<double>& off) {
  CRIA_TRY_ASSIGN(const CacheImage after, target.read(device));
  return target.compare(after, right, off);
}

Result<CaseOutcome> run_kv_write(Trial& trial, KvType type, const BatchShape& shape) {
  const kernels::AttentionShape attention = shape.attention();
  CRIA_TRY_ASSIGN(const Batch batch, make_batch(trial, shape, 1));
  Table qkv = random_table(trial.random, shape.tokens(), attention.qkv_size());
  for (size_t t = 0; t < qkv.rows; ++t) {  // queries are not the kernel's to use
    for (size_t i = 0; i < attention.q_size(); ++i) qkv.at(t, i) = std::nan("");
  }
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "qkv", qkv));
  const CacheImage empty(shape, type, Poison::kOutput);
  CRIA_TRY_ASSIGN(const CacheTarget keys, CacheTarget::create(trial.device, "keys", empty));
  CRIA_TRY_ASSIGN(const CacheTarget values, CacheTarget::create(trial.device, "values", empty));
  CRIA_TRY_ASSIGN(const auto op, kernels::KvWrite::create(trial.device, type, shape.head_dim));
  gpu::Recorder recorder = trial.device.record("kv_write");
  op.record(recorder, attention, input, batch.buffers, {.keys = keys.buffer, .values = values.buffer});
  CRIA_TRY(trial.submit(recorder));
  PagedCache cache(shape.pages(), shape.kv_heads, shape.head_dim);
  reference::kv_write(qkv, attention, batch.tokens, batch.table, cache);
  CRIA_TRY_ASSIGN(CaseOutcome outcome, check_cache(trial.device, keys, cache.keys, {}));
  CRIA_TRY_ASSIGN(CaseOutcome second, check_cache(trial.device, values, cache.values, {}));
  outcome.add(std::move(second));
  return outcome;
}

Result<CaseOutcome> run_rope_kv(Trial& trial, KvType type, const BatchShape& shape) {
  const kernels::AttentionShape attention = shape.attention();
  const uint32_t turned = attention.q_size() + attention.kv_size();
  CRIA_TRY_ASSIGN(const Batch batch, make_batch(trial, shape, 1));
  Table rows = random_table(trial.random, shape.tokens(), attention.qkv_size());
  Image before = activation_image(Poison::kOutput, rows.rows, rows.columns);
  before.set_rows(rows);
  CRIA_TRY_ASSIGN(const Target qkv, Target::create(trial.device, "qkv", std::move(before)));
  Table cos_sin(shape.tokens(), shape.head_dim);
  for (double& value : cos_sin.values) value = trial.random.unit();
  CRIA_TRY_ASSIGN(const gpu::Buffer turns, upload_vector(trial.device, "cos_sin", cos_sin.values));
  const CacheImage empty(shape, type, Poison::kOutput);
  CRIA_TRY_ASSIGN(const CacheTarget keys, CacheTarget::create(trial.device, "keys", empty));
  CRIA_TRY_ASSIGN(const CacheTarget values, CacheTarget::create(trial.device, "values", empty));
  CRIA_TRY_ASSIGN(const auto op, kernels::RopeKv::create(trial.device, type, shape.head_dim));
  gpu::Recorder recorder = trial.device.record("rope_kv");
  op.record(recorder, attention, activation_of(qkv, rows.columns), turns, batch.buffers,
            {.keys = keys.buffer, .values = values.buffer});
  CRIA_TRY(trial.submit(recorder));

  Table heads(rows.rows, turned);
  for (size_t t = 0; t < rows.rows; ++t) {
    for (size_t i = 0; i < turned; ++i) heads.at(t, i) = rows.at(t, i);
  }
  const Expected expected = reference::rope(heads, cos_sin, shape.heads + shape.kv_heads, shape.head_dim);
  Expectation expectation(qkv.before);
  Table written = rows;
  Table errors(rows.rows, rows.columns);
  for (size_t t = 0; t < rows.rows; ++t) {
    for (size_t i = 0; i < rows.columns; ++i) {
      const bool is_query = i < attention.q_size();
      expectation.set(t, i, is_query ? expected.value.at(t, i) : rows.at(t, i),
                      is_query ? expected.tolerance.at(t, i) : 0);
      if (i >= turned) continue;
      written.at(t, i) = expected.value.at(t, i);
      errors.at(t, i) = expected.tolerance.at(t, i);
    }
  }
  PagedCache cache(shape.pages(), shape.kv_heads, shape.head_dim);
  PagedCache off(shape.pages(), shape.kv_heads, shape.head_dim);
  reference::kv_write(written, attention, batch.tokens, batch.table, cache);
  reference::kv_write(errors, attention, batch.tokens, batch.table, off);
  CRIA_TRY_ASSIGN(CaseOutcome outcome, qkv.check(trial.device, expectation));
  CRIA_TRY_ASSIGN(CaseOutcome key_outcome, check_cache(trial.device, keys, cache.keys, off.keys));
  outcome.add(std::move(key_outcome));
  CRIA_TRY_ASSIGN(CaseOutcome value_outcome, check_cache(trial.device, values, cache.values, off.values));
  outcome.add(std::move(value_outcome));
  return outcome;
}

/// Queries so long that a softmax is neither flat nor all in one place; in every other case longer still. The
/// keys and values of their rows, which the kernels take from the cache, are poison.
Result<kernels::Activation> upload_queries(Trial& trial, const BatchShape& shape, Table& queries) {
  const float length = trial.random.below(2) == 0 ? 8 : 30;
  for (double& value : queries.values) value = length * trial.random.unit();
  const uint32_t columns = shape.attention().qkv_size();
  Image image = activation_image(Poison::kInput, queries.rows, columns);
  image.set_rows(queries);
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, upload(trial.device, "qkv", image));
  return kernels::Activation{.buffer = std::move(buffer), .columns = columns};
}

Result<CaseOutcome> run_attention(Trial& trial, AttentionKernel kernel, KvType type, const BatchShape& shape) {
  const kernels::AttentionShape attention = shape.attention();
  CRIA_TRY_ASSIGN(const auto op, kernels::Attention::create(trial.device, type, shape.head_dim));
  CRIA_TRY_ASSIGN(const Batch batch, make_batch(trial, shape, op.tile_tokens()));
  const FilledCache cache = fill_cache(trial.random, type, shape, batch.table, PositionsFilled::kAll);
  kernels::KvLayer layer;
  CRIA_TRY_ASSIGN(layer.keys, upload_words(trial.device, "keys", cache.keys.words()));
  CRIA_TRY_ASSIGN(layer.values, upload_words(trial.device, "values", cache.values.words()));
  Table queries(shape.tokens(), attention.q_size());
  CRIA_TRY_ASSIGN(const kernels::Activation qkv, upload_queries(trial, shape, queries));
  CRIA_TRY_ASSIGN(
      const Target y,
      Target::create(trial.device, "y", activation_image(Poison::kOutput, shape.tokens(), attention.q_size())));
  gpu::Recorder recorder = trial.device.record("attention");
  op.record(recorder, kernel, attention, qkv, batch.buffers, layer, shape.window, activation_of(y, attention.q_size()));
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::attention(queries, attention, batch.tokens, batch.table, cache.cpu, shape.window,
                                            smallest_normal(type)));
  return y.check(trial.device, expectation);
}

Result<CaseOutcome> run_matrix(Trial& trial, KvType type, const BatchShape& shape) {
  const kernels::AttentionShape attention = shape.attention();
  CRIA_TRY_ASSIGN(const auto op, kernels::AttentionMatrix::create(trial.device, type, shape.head_dim));
  CRIA_TRY_ASSIGN(const Batch batch, make_batch(trial, shape, op.tile_tokens()));
  const FilledCache cache = fill_cache(trial.random, type, shape, batch.table, PositionsFilled::kAll);
  kernels::KvLayer layer;
  CRIA_TRY_ASSIGN(layer.keys, upload_words(trial.device, "keys", cache.keys.words()));
  CRIA_TRY_ASSIGN(layer.values, upload_words(trial.device, "values", cache.values.words()));
  Table queries(shape.tokens(), attention.q_size());
  CRIA_TRY_ASSIGN(const kernels::Activation qkv, upload_queries(trial, shape, queries));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y",
                                 activation_image(Poison::kOutput, shape.tokens(), attention.q_size(), Element::kF16)));
  gpu::Recorder recorder = trial.device.record("attention_matrix");
  op.record(recorder, attention, qkv, batch.buffers, layer, shape.window, activation_of(y, attention.q_size()));
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::attention_in_halves(queries, attention, batch.tokens, batch.table, cache.cpu,
                                                      shape.window, type != KvType::kF16));
  return y.check(trial.device, expectation);
}

/// All but heads of which each shows something: with matrices of 8x8x8 those of 40, 48 and 128 are what 80, 96 and 256
/// are with 16x16x16, and that of 256 is shared by four subgroups.
bool is_extra_head(KvType type, uint32_t head_dim) {
  const auto is_in = [&](std::initializer_list<uint32_t> heads) {
    return std::ranges::find(heads, head_dim) != heads.end();
  };
  return type == KvType::kF16 ? !is_in({40, 48, 64, 80, 128, 256}) : !is_in({64, 96});
}

/// Runs round the ends of tiles of queries (8 to 64) and of keys (16 and 32).
std::vector<BatchShape> matrix_shapes(uint32_t head_dim) {
  const std::vector<Run> some = {{0, 40}, {126, 20}, {5, 1}, {250, 70}};
  std::vector<BatchShape> shapes = {{6, 2, head_dim, 0, {{30, 5}, {0, 17}, {61, 1}}}};
  for (const uint32_t window : {0U, 1U, 2U, 31U, 32U, 33U, 200U}) shapes.push_back({2, 1, head_dim, window, some});
  for (const uint32_t count : {1U, 2U, 31U, 32U, 33U, 63U, 64U, 65U, 130U}) {
    shapes.push_back({1, 1, head_dim, 0, {{0, count}, {64 - count % 64, 3}}});
  }
  return shapes;
}

/// The lengths of heads are shared out between the cache's types, because each costs a pipeline and neither
/// decides how the other is handled. 64 and 80 are in both.
std::vector<uint32_t> head_dims(KvType type) {
  if (type == KvType::kF32) return {2, 6, 64, 80, 256};
  if (type == KvType::kInt8) return {8, 80, 128};
  return {4, 32, 64, 80, 96, 128, kernels::kMaxHeadDim};
}

constexpr uint32_t kWindows[] = {1, 2, 31, 32, 33, 200};

/// Every length of heads and several groupings on few tokens, then `many` and what windows leave of `some`.
std::vector<BatchShape> batch_shapes(KvType type, const std::vector<Run>& few, const std::vector<Run>& some,
                                     const std::vector<Run>& many) {
  std::vector<BatchShape> shapes;
  for (const uint32_t head_dim : head_dims(type)) shapes.push_back({4, 2, head_dim, 0, few});
  shapes.push_back({8, 1, 64, 0, few});
  shapes.push_back({3, 3, 80, 0, few});
  shapes.push_back({1, 1, 64, 0, many});
  shapes.push_back({2, 1, type == KvType::kF32 ? 256U : 128U, 0, some});
  if (type == KvType::kInt8) return shapes;  // windows have been tried with the others
  for (const uint32_t window : kWindows) shapes.push_back({2, 1, 64, window, some});
  // Long heads make prefill's tiles of keys so short that some lie before the window of a tile's last queries.
  shapes.push_back({2, 1, head_dims(type).back(), 3, few});
  return shapes;
}

/// Positions round the ends of pages (32) and of decode's blocks (128 positions, or 256 for the longest heads).
std::vector<BatchShape> decode_shapes(KvType type) {
  const std::vector<Run> few = {{31}, {0}, {140}, {32}};
  const std::vector<Run> some = {{33}, {1}, {128}, {300}};
  const std::vector<Run> many = {{1}, {30}, {33}, {63}, {64}, {127}, {128}, {129}, {255}, {256}, {257}, {600}};
  return batch_shapes(type, few, some, many);
}

/// Runs that begin and end round the ends of pages (32), of tiles of queries (16 and fewer) and of keys (64).
std::vector<BatchShape> prefill_shapes(KvType type) {
  const std::vector<Run> few = {{30, 5}, {0, 17}, {61, 1}};
  const std::vector<Run> some = {{0, 40}, {126, 20}, {5, 1}, {250, 9}};
  std::vector<BatchShape> shapes = batch_shapes(type, few, some, some);
  if (type == KvType::kInt8) return shapes;
  for (const uint32_t count : {1U, 2U, 15U, 16U, 17U, 31U, 32U, 33U, 63U, 64U, 65U}) {
    shapes.push_back({2, 2, 64, 0, {{0, count}, {64 - count % 64, 3}}});
  }
  return shapes;
}

}  // namespace

void add_attention_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](const std::string& kernel, KvType type, const BatchShape& shape, auto body) -> Case& {
    const uint64_t activations = activation_bytes(shape.tokens(), shape.attention().qkv_size());
    return cases.emplace_back(Case{.kernel = kernel,
                                   .shape = describe(shape),
                                   .binding_bytes = std::max(activations, shape.cache_bytes(type)),
                                   .body = std::move(body)});
  };
  for (const KvType type : {KvType::kF16, KvType::kInt8}) {
    for (uint32_t head_dim = kernels::kChunk; head_dim <= kernels::kMaxHeadDim; head_dim += kernels::kChunk) {
      if (!kernels::AttentionMatrix::supports(device, type, head_dim)) continue;
      const std::string name = kernels::AttentionMatrix::kernel_name(device, type, head_dim);
      for (const BatchShape& shape : matrix_shapes(head_dim)) {
        if (type == KvType::kInt8 && shape.window > 1) continue;  // tried with f16
        add(name, type, shape, [=](Trial& t) { return run_matrix(t, type, shape); }).is_extra =
            is_extra_head(type, head_dim);
      }
    }
  }
  for (const KvType type : kernels::kKvTypes) {
    const std::string write = kernels::KvWrite::kernel_name(device, type);
    const std::string decode = kernels::SpecBuilder(device, "attention_decode").kv(type).reductions(1).name();
    const std::string prefill = kernels::SpecBuilder(device, "attention_prefill").kv(type).name();
    for (const BatchShape& shape : decode_shapes(type)) {
      add(decode, type, shape, [=](Trial& t) { return run_attention(t, AttentionKernel::kDecode, type, shape); });
    }
    for (const BatchShape& shape : prefill_shapes(type)) {
      add(prefill, type, shape, [=](Trial& t) { return run_attention(t, AttentionKernel::kPrefill, type, shape); });
      if (shape.window > 0) continue;  // which has no meaning for it
      add(write, type, shape, [=](Trial& t) { return run_kv_write(t, type, shape); });
      if (!kernels::RopeKv::supports(shape.attention(), type)) continue;
      add(fmt::format("rope_kv_{}", kernels::kv_type_name(type)), type, shape,
          [=](Trial& t) { return run_rope_kv(t, type, shape); });
    }
  }
}

}  // namespace cria::selftest
