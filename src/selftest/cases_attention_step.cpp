// Cases of attention_step and attention_combine: one new token each of several sequences. Norms of heads, RoPE, the
// write of the cache and attention are one dispatch, so each case checks the cache that is left and what was
// attended: attention over the keys and values as they were stored, which is what the kernel promises.
#include <algorithm>
#include <limits>
#include <tuple>

#include "selftest/attention_batch.h"
#include "selftest/block_activation.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::AttentionStep;
using kernels::KvType;

constexpr float kEpsilon = 1e-6F;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// How the kernel leaves what the heads found.
enum class Ending : uint8_t { kF32, kF16, kBlocks };

struct StepShape {
  BatchShape batch;
  bool qk_norm = false;
  bool is_ready = false;  // queries are turned, and keys and values in the cache
};

/// Rows of queries, keys and values: queries so long that a softmax is neither flat nor all in one place. Rows that are
/// ready hold no keys nor values.
Table make_rows(Random& random, const StepShape& step) {
  const kernels::AttentionShape shape = step.batch.attention();
  Table qkv(step.batch.tokens(), shape.qkv_size());
  for (size_t t = 0; t < qkv.rows; ++t) {
    for (size_t i = 0; i < qkv.columns; ++i) {
      const bool is_value = i >= shape.q_size() + shape.kv_size();
      qkv.at(t, i) = is_value ? random.value() : (i < shape.q_size() ? 8.0F : 1.0F) * random.unit();
      if (step.is_ready && i >= shape.q_size()) qkv.at(t, i) = kNaN;
    }
  }
  return qkv;
}

/// [2, head_dim], or no rows. Those of queries are long, those of keys short.
Table make_norms(Random& random, const StepShape& step) {
  Table norms(step.qk_norm ? 2 : 0, step.batch.head_dim);
  for (size_t i = 0; i < norms.values.size(); ++i) {
    norms.values[i] = (i < norms.columns ? 6.0F : 1.0F) * random.unit();
  }
  return norms;
}

/// Not valid where there are none.
Result<gpu::Buffer> upload_norms(gpu::Device& device, Table& norms) {
  if (norms.rows == 0) return gpu::Buffer();
  return upload_vector(device, "norms", norms.values);
}

/// The buffer of parts: poison, with a tail where the device binds as much.
Result<gpu::Buffer> make_parts(gpu::Device& device, uint64_t words) {
  const bool has_tail = (words + kTailWords) * 4 <= device.limits().max_binding_bytes;
  const std::vector<uint32_t> poison(words + (has_tail ? kTailWords : 0), static_cast<uint32_t>(Poison::kOutput));
  return upload_words(device, "parts", poison);
}

/// What lies behind the parts is as before.
Result<CaseOutcome> check_tail(gpu::Device& device, const gpu::Buffer& parts, uint64_t words) {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> after, download(device, parts));
  const std::vector<uint32_t> tail(after.size() - words, static_cast<uint32_t>(Poison::kOutput));
  return compare_words("the tail of parts", tail, std::span(after).subspan(words));
}

/// Every bit of a cache is as before.
Result<CaseOutcome> check_untouched(gpu::Device& device, const CacheTarget& target) {
  CRIA_TRY_ASSIGN(const CacheImage after, target.read(device));
  return target.compare(after, std::vector<double>(after.rows() * after.row(0).size(), kNaN), {});
}

/// Checks what was left of a cache: what was there where rows are ready, and else the new rows, whose stored form goes
/// over into `cached`.
Result<CaseOutcome> check_cache(gpu::Device& device, const StepShape& step, const Batch& batch, const Expected& rows,
                                const CacheTarget& keys, const CacheTarget& values, PagedCache& cached) {
  const kernels::AttentionShape attention = step.batch.attention();
  const uint32_t first_key = attention.q_size();
  const uint32_t first_value = first_key + attention.kv_size();
  CaseOutcome outcome;
  for (const auto& [target, first, held] :
       {std::tuple(&keys, first_key, &cached.keys), std::tuple(&values, first_value, &cached.values)}) {
    CRIA_TRY_ASSIGN(CaseOutcome one, step.is_ready
                                         ? check_untouched(device, *target)
                                         : check_new_rows(device, *target, step.batch, batch, rows, first, *held));
    outcome.add(std::move(one));
  }
  return outcome;
}

/// Tells where the only token stands, and its pages where they follow one another; where the kernel would look for them
/// there is poison.
Status tell_place(gpu::Device& device, const BatchShape& shape, Batch& batch) {
  batch.buffers.position = shape.runs.front().position;
  batch.buffers.slot = shape.slot(0);
  const std::vector<uint32_t> poison(2, static_cast<uint32_t>(Poison::kOutput));
  CRIA_TRY_ASSIGN(batch.buffers.token_info, upload_words(device, "token info", poison));
  if (!shape.follow) return {};
  batch.buffers.first_page = batch.table.pages[size_t{shape.slot(0)} * batch.table.pages_per_slot];
  const std::vector<uint32_t> nowhere(batch.table.pages.size(), static_cast<uint32_t>(Poison::kOutput));
  CRIA_TRY_ASSIGN(batch.buffers.page_table, upload_words(device, "page table", nowhere));
  return {};
}

AttentionStep::Variant variant_of(const StepShape& step, Ending ending) {
  if (step.is_ready) return AttentionStep::Variant::kReady;
  return ending == Ending::kBlocks ? AttentionStep::Variant::kRawToBlocks : AttentionStep::Variant::kRaw;
}

/// What the kernel attends with.
Expected turned_rows(const StepShape& step, const Table& rows, const Table& norms, const Table& turns) {
  if (!step.is_ready) return reference::step_rows(rows, step.batch.attention(), norms, kEpsilon, turns);
  Expected turned(rows.rows, rows.columns);
  turned.value = rows;
  return turned;
}

/// Checks where the result is, and that the other place was left alone.
Result<CaseOutcome> check_attended(gpu::Device& device, const Expected& expected, Ending ending, const Target& y,
                                   const PoisonedBlocks& blocks) {
  Expectation expectation(y.before);
  if (ending == Ending::kBlocks) {
    CRIA_TRY_ASSIGN(CaseOutcome outcome, blocks.check(device, expected));
    CRIA_TRY_ASSIGN(CaseOutcome untouched, y.check(device, expectation));
    outcome.add(std::move(untouched));
    return outcome;
  }
  expectation.set_rows(ending == Ending::kF16 ? reference::to_half(expected) : expected);
  return y.check(device, expectation);
}

Result<CaseOutcome> run(Trial& trial, KvType type, const StepShape& step, Ending ending) {
  const Element element = ending == Ending::kF16 ? Element::kF16 : Element::kF32;
  const BatchShape& shape = step.batch;
  const kernels::AttentionShape attention = shape.attention();
  CRIA_TRY_ASSIGN(Batch batch, make_batch(trial, shape, 1));
  if (step.is_ready && shape.tokens() == 1) CRIA_TRY(tell_place(trial.device, shape, batch));
  Table rows = make_rows(trial.random, step);
  Table norms = make_norms(trial.random, step);
  Table turns = random_turns(trial.random, shape.tokens(), shape.head_dim);
  FilledCache cache = fill_cache(trial.random, type, shape, batch.table,
                                 step.is_ready ? PositionsFilled::kAll : PositionsFilled::kBeforeBatch);
  CRIA_TRY_ASSIGN(const kernels::Activation qkv, upload_activation(trial.device, "qkv", rows));
  CRIA_TRY_ASSIGN(const gpu::Buffer turn_buffer, upload_vector(trial.device, "cos_sin", turns.values));
  CRIA_TRY_ASSIGN(const gpu::Buffer norm_buffer, upload_norms(trial.device, norms));
  CRIA_TRY_ASSIGN(const CacheTarget keys, CacheTarget::create(trial.device, "keys", cache.keys));
  CRIA_TRY_ASSIGN(const CacheTarget values, CacheTarget::create(trial.device, "values", cache.values));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y",
                                 activation_image(Poison::kOutput, shape.tokens(), attention.q_size(), element)));
  CRIA_TRY_ASSIGN(const auto blocks, PoisonedBlocks::create(trial.device, attention.q_size(), shape.tokens()));
  // One more token than there is, as in a model with a free slot.
  const AttentionStep::Variant variants[] = {variant_of(step, ending)};
  CRIA_TRY_ASSIGN(const auto op,
                  AttentionStep::create(trial.device, type, attention, step.qk_norm, shape.tokens() + 1, variants));
  CRIA_TRY_ASSIGN(const gpu::Buffer parts, make_parts(trial.device, op.parts_size()));
  const uint32_t longest = std::ranges::max_element(shape.runs, {}, &Run::position)->position + 1;
  gpu::Recorder recorder = trial.device.record("attention_step");
  op.record(recorder,
            {.qkv = qkv,
             .is_ready = step.is_ready,
             .batch = batch.buffers,
             .layer = {.keys = keys.buffer, .values = values.buffer},
             .cos_sin = turn_buffer,
             .norms = norm_buffer,
             .epsilon = kEpsilon,
             .window = shape.window,
             .longest = longest,
             .parts = parts,
             .blocks = ending == Ending::kBlocks ? &blocks.blocks : nullptr},
            activation_of(y, attention.q_size()));
  CRIA_TRY(trial.submit(recorder));

  const Expected turned = turned_rows(step, rows, norms, turns);
  CRIA_TRY_ASSIGN(CaseOutcome outcome, check_cache(trial.device, step, batch, turned, keys, values, cache.cpu));
  const Expected expected = reference::attention(turned, attention, batch.tokens, batch.table, cache.cpu, shape.window,
                                                 smallest_normal(type));
  CRIA_TRY_ASSIGN(CaseOutcome attended, check_attended(trial.device, expected, ending, y, blocks));
  outcome.add(std::move(attended));
  CRIA_TRY_ASSIGN(CaseOutcome tail, check_tail(trial.device, parts, op.parts_size()));
  outcome.add(std::move(tail));
  return outcome;
}

/// Lengths of heads round the 16 chunks of 8 that divide a workgroup, shared out between the cache's types.
std::vector<uint32_t> head_dims(KvType type) {
  if (type == KvType::kF32) return {40, 64, kernels::kMaxHeadDim};
  if (type == KvType::kInt8) return {8, 80, 128};
  return {8, 64, 80, 128};
}

/// Positions round the ends of pages (32), of splits (128), and of where these begin (256).
std::vector<StepShape> step_shapes(KvType type) {
  std::vector<StepShape> shapes;
  const std::vector<Run> few = {{31}, {0}, {140}, {32}};
  const std::vector<Run> many = {{0}, {1}, {30}, {33}, {63}, {64}, {126}, {127}, {128}, {129}, {254}, {255}};
  const std::vector<Run> split = {{256}, {0}, {511}, {130}, {700}};
  bool qk_norm = type == KvType::kF32;
  for (const uint32_t head_dim : head_dims(type)) {
    shapes.push_back({{4, 2, head_dim, 0, few}, qk_norm});
    shapes.push_back({{4, 2, head_dim, 0, {{600}, {3}}}, qk_norm});
    qk_norm = !qk_norm;
  }
  const bool norm = type == KvType::kF32;
  shapes.push_back({{8, 1, 64, 0, few}, !norm});   // four workgroups share a key head
  shapes.push_back({{3, 3, 64, 0, many}, norm});   // a key head for each query
  shapes.push_back({{6, 2, 64, 0, split}, norm});  // groups of three, and parts without positions
  shapes.push_back({{8, 1, 64, 0, {{257}}}, !norm});
  shapes.push_back({{2, 1, 64, 0, {{40}}}, !norm});  // small enough for a binding of 64 KiB
  shapes.push_back({{1, 1, 64, 0, {{40}}}, norm});
  shapes.push_back({{1, 1, 80, 0, {{40}}}, true});  // and in parts that small subgroups do not hold,
  shapes.push_back({{1, 1, 96, 0, {{40}}}, true});  // where they can be quantised, too
  shapes.push_back({{2, 1, 64, 0, {{2100}, {5}}}, !norm});
  if (type != KvType::kInt8) {
    for (const std::vector<Run>& runs : {few, many, split}) shapes.push_back({{4, 2, 64, 0, runs}, false, true});
    shapes.push_back({{3, 1, 40, 33, few}, false, true});
    shapes.push_back({{2, 1, 64, 0, {{40}}}, false, true});
    shapes.push_back({{2, 1, 64, 0, {{140}}, true}, false, true});
    shapes.push_back({{8, 2, 128, 200, {{700}}, true}, false, true});
    shapes.push_back({{8, 2, 128, 200, split}, false, true});
    shapes.push_back({{1, 1, 80, 0, {{40}}}, false, true});
  }
  if (type == KvType::kInt8) return shapes;  // windows have been tried with the others
  for (const uint32_t window : {1U, 2U, 31U, 32U, 33U, 128U, 129U, 200U}) {
    shapes.push_back({{2, 1, 64, window, few}, !norm});
    shapes.push_back({{2, 1, 64, window + 128, split}, !norm});
  }
  return shapes;
}

/// True where the positions are shared out, by AttentionStep's rule: beyond 256.
bool is_split(const gpu::Device& device, const BatchShape& shape) {
  uint32_t positions = std::ranges::max_element(shape.runs, {}, &Run::position)->position + 1;
  if (shape.window > 0) positions = std::min(positions, shape.window);
  const uint64_t split_bytes = uint64_t{shape.tokens() + 1} * shape.heads * (shape.head_dim + 4) * 4;
  return positions > 256 && device.limits().max_binding_bytes >= 2 * split_bytes;
}

}  // namespace

void add_attention_step_cases(const gpu::Device& device, std::vector<Case>& cases) {
  for (const KvType type : kernels::kKvTypes) {
    for (const StepShape& step : step_shapes(type)) {
      const BatchShape& shape = step.batch;
      const uint64_t activations = activation_bytes(shape.tokens(), shape.attention().qkv_size());
      const bool split = is_split(device, shape);
      const auto add = [&](Ending ending) {
        const std::string name =
            AttentionStep::kernel_name(device, type, shape.head_dim, step.qk_norm, variant_of(step, ending));
        const std::string half = ending == Ending::kF16 ? "_to_f16" : "";
        cases.push_back({.kernel = split ? "attention_combine" + half : name,
                         .shape = split ? fmt::format("after {}, {}", name, describe(shape)) : describe(shape) + half,
                         .binding_bytes = std::max(activations, shape.cache_bytes(type)),
                         .body = [=](Trial& trial) { return run(trial, type, step, ending); }});
      };
      add(Ending::kF32);
      if (device.features().f16) add(Ending::kF16);
      if (!split && !step.is_ready && AttentionStep::makes_blocks(device, shape.attention())) add(Ending::kBlocks);
    }
  }
}

}  // namespace cria::selftest
