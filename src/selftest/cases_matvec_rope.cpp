// Cases of the matrix-vector kernels with the end of matvec_put_rope.wgsl: the product of queries, keys and values in a
// decode step, which turns queries and keys, and writes keys and values to the cache.
#include <algorithm>

#include "selftest/attention_batch.h"
#include "selftest/product_case.h"

namespace cria::selftest {
namespace {

using kernels::KvType;
using kernels::MatVec;
using kernels::MatVecCut;
using kernels::WeightFormat;
using kernels::WeightType;

/// Of queries, the product's rows turned; of keys and values, what the buffer held before.
void set_queries(Expectation& expectation, const Expected& rows, uint32_t q_size) {
  for (size_t t = 0; t < rows.value.rows; ++t) {
    for (size_t i = 0; i < q_size; ++i) expectation.set(t, i, rows.value.at(t, i), rows.tolerance.at(t, i));
  }
}

/// Keys and values as element_f16.wgsl leaves them: magnitudes beyond f16's are its largest. Queries are not stored.
void limit_stored(Expected& rows, uint32_t q_size) {
  constexpr double kLargest = 65504;
  for (size_t t = 0; t < rows.value.rows; ++t) {
    for (size_t i = q_size; i < rows.value.columns; ++i) {
      rows.value.at(t, i) = std::clamp(rows.value.at(t, i), -kLargest, kLargest);
    }
  }
}

Result<CaseOutcome> run(Trial& trial, const WeightFormat& format, const ProductVariant& variant,
                        const ProductShape& product_shape, const BatchShape& shape) {
  const kernels::AttentionShape attention = shape.attention();
  CRIA_TRY_ASSIGN(const auto product, ProductCase::create(trial.device, trial.random, format, variant, product_shape));
  CRIA_TRY_ASSIGN(const Batch batch, make_batch(trial, shape, 1));
  Table turns = random_turns(trial.random, shape.tokens(), shape.head_dim);
  CRIA_TRY_ASSIGN(const gpu::Buffer turn_buffer, upload_vector(trial.device, "cos_sin", turns.values));
  FilledCache cache = fill_cache(trial.random, variant.heads.cache, shape, batch.table, PositionsFilled::kBeforeBatch);
  CRIA_TRY_ASSIGN(const CacheTarget keys, CacheTarget::create(trial.device, "keys", cache.keys));
  CRIA_TRY_ASSIGN(const CacheTarget values, CacheTarget::create(trial.device, "values", cache.values));
  CRIA_TRY_ASSIGN(const auto op, MatVec::create(trial.device, product.spec, variant.max_tokens, variant.cut));
  gpu::Recorder recorder = trial.device.record("matvec, rope");
  const kernels::KvLayer layer{.keys = keys.buffer, .values = values.buffer};
  op.record(recorder, product.matrix, product.input, product.norm_operand(), product.output(), shape.tokens(),
            kernels::RopeKvOperand{turn_buffer, batch.buffers, layer});
  CRIA_TRY(trial.submit(recorder));

  Expected rows =
      reference::turned_rows(reference::biased(product.reference_product(), product.bias), attention, turns);
  if (variant.heads.cache == KvType::kF16) limit_stored(rows, attention.q_size());
  CRIA_TRY_ASSIGN(CaseOutcome outcome,
                  check_new_rows(trial.device, keys, shape, batch, rows, attention.q_size(), cache.cpu.keys));
  CRIA_TRY_ASSIGN(CaseOutcome second, check_new_rows(trial.device, values, shape, batch, rows,
                                                     attention.q_size() + attention.kv_size(), cache.cpu.values));
  outcome.add(std::move(second));
  Expectation expectation(product.y.before);
  set_queries(expectation, rows, attention.q_size());
  CRIA_TRY_ASSIGN(CaseOutcome queries, product.y.check(trial.device, expectation));
  outcome.add(std::move(queries));
  return outcome;
}

/// A cut of each kernel that makes pairs of rows, one after the other or several at a time.
std::vector<MatVecCut> cuts(const gpu::Device& device, const WeightFormat& format) {
  const uint32_t lanes = 2 * std::max(device.info().subgroup_max_size, 32U);
  std::vector<MatVecCut> list = {{.workgroup_size = 64, .rows = 2, .split = 1, .depth = 1},
                                 {.workgroup_size = 128, .rows = 4, .split = 4, .depth = 2},
                                 {.workgroup_size = 32, .rows = 2, .split = 0}};
  if (!kernels::is_quantised(format.type)) {
    list.push_back({.workgroup_size = 2 * lanes, .rows = 2, .lanes = lanes, .workgroups = 3});
  }
  return list;
}

}  // namespace

void add_matvec_rope_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](const WeightFormat& format, const MatVecCut& cut, KvType cache, uint32_t columns,
                       uint32_t shards, const BatchShape& shape) {
    const kernels::StepHeads heads{
        .heads = shape.heads, .kv_heads = shape.kv_heads, .head_dim = shape.head_dim, .cache = cache};
    if (!MatVec::supports(device, heads)) return;
    const uint32_t tokens = shape.tokens();
    const ProductVariant variant{.norm = cases.size() % 4 != 0,
                                 .bias = cases.size() % 2 == 0,
                                 .output = kernels::MatVecOutput::kRopeKv,
                                 .max_tokens = tokens > 1 ? 4U : 1U,
                                 .cut = cut,
                                 .heads = heads};
    const ProductShape product{
        .rows = shape.attention().qkv_size(), .columns = columns, .tokens = tokens, .shards = shards};
    cases.push_back({.kernel = matvec_kernel_name(device, format, variant, tokens),
                     .shape = fmt::format("{} columns, {} shards, {} rows by workgroups of {}, {}", columns, shards,
                                          cut.rows, cut.workgroup_size, describe(shape)),
                     .binding_bytes = std::max(activation_bytes(tokens, product.rows), shape.cache_bytes(cache)),
                     .body = [=](Trial& trial) { return run(trial, format, variant, product, shape); }});
  };
  const std::vector<Run> few = {{31}, {0}, {70}};
  for (const WeightFormat& format :
       {WeightFormat(WeightType::kF32), WeightFormat(WeightType::kF16), WeightFormat(WeightType::kInt8, 32),
        WeightFormat(WeightType::kInt4, 32), WeightFormat(WeightType::kQ6_K)}) {
    const bool is_k_quant = kernels::is_k_quant(format.type);  // of whole super-blocks
    for (const MatVecCut& cut : cuts(device, format)) {
      add(format, cut, KvType::kF16, is_k_quant ? 256 : 40, 2, {4, 2, 8, 0, few});
      add(format, cut, KvType::kF32, is_k_quant ? 512 : 129, 1, {3, 1, 34, 0, {{33}}});
    }
    add(format, cuts(device, format).front(), KvType::kF16, is_k_quant ? 256 : 72, 3,
        {4, 4, 64, 0, {{5}, {32}, {64}, {1}, {2}}});
  }
}

}  // namespace cria::selftest
