#include <algorithm>
#include <bit>

#include "kernels/attention.h"
#include "kernels/matvec_few.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kCombineWorkgroup = 64;
/// Parts of a workgroup where the device allows it: more read a short context sooner, but meet later.
constexpr uint32_t kParts = 16;
/// Positions up to which a second dispatch, for splits, costs more than it saves.
constexpr uint32_t kUnsplitPositions = 256;
/// Positions of a split, at least.
constexpr uint32_t kSplitPositions = 128;
/// Workgroups up to which each head has its own.
constexpr uint32_t kFewWorkgroups = 64;
/// Workgroups from which on more splits bring nothing: about as many as the largest GPUs have cores.
constexpr uint32_t kEnoughWorkgroups = 128;
constexpr uint32_t kMaxSplits = 64;

enum class StepOutput : uint32_t { kParts, kF32, kF16, kBlocks };

/// How a workgroup is cut into parts.
struct Cut {
  uint32_t lanes = 1;  // of a part
  uint32_t workgroup = 1;
  bool in_subgroups = false;  // parts do not reach beyond one
};

/// Workgroup memory of attention_step.wgsl, step_blocks.wgsl and part_….wgsl.
uint32_t memory_bytes(const Cut& cut, uint32_t head_dim) {
  const uint32_t parts = cut.workgroup / cut.lanes;
  return (parts + 1) * (16 + head_dim * 4) + (cut.in_subgroups ? 0 : cut.workgroup * 16);
}

/// The largest workgroup of up to kParts parts that the device has room for.
Cut cut_of(const gpu::Device& device, uint32_t head_dim) {
  const gpu::DeviceInfo& info = device.info();
  Cut cut{.lanes = std::bit_ceil(head_dim / 8)};
  cut.in_subgroups = info.features.subgroups && cut.lanes <= info.subgroup_min_size;
  cut.workgroup = std::max({kParts * cut.lanes, info.subgroup_max_size, 32U});
  while (cut.workgroup > info.limits.max_workgroup_invocations ||
         (cut.workgroup > cut.lanes && memory_bytes(cut, head_dim) > info.limits.max_workgroup_memory_bytes)) {
    cut.workgroup /= 2;
  }
  return cut;
}

/// Bytes of one split's part for all tokens.
uint64_t split_bytes(const AttentionShape& shape, uint32_t max_tokens) {
  return uint64_t{max_tokens} * shape.heads * (shape.head_dim + 4) * 4;
}

/// Splits whose parts one binding holds.
uint32_t most_splits(const gpu::Limits& limits, const AttentionShape& shape, uint32_t max_tokens) {
  const uint64_t fitting = limits.max_binding_bytes / split_bytes(shape, max_tokens);
  return static_cast<uint32_t>(std::clamp<uint64_t>(fitting, 1, kMaxSplits));
}

constexpr uint32_t kInTable = UINT32_MAX;  // of first_page

struct StepParams {
  uint32_t kv_heads, groups_per_kv, qkv_stride, y_stride, pages_per_slot, window, split_positions, splits;
  float scale, epsilon;
  StepOutput output;
  uint32_t zero;
  uint32_t has_place, position, slot, first_page;
};
struct CombineParams {
  uint32_t heads, quarters, splits, y_stride;
};

using Variant = AttentionStep::Variant;

SpecBuilder step_spec(const gpu::Device& device, KvType type, uint32_t head_dim, bool qk_norm, Variant variant) {
  const Cut cut = cut_of(device, head_dim);
  return SpecBuilder(device, "attention_step")
      .module(fmt::format("kv_chunks_{}", kv_type_name(type)))
      .suffix(fmt::format("_kv_{}{}{}", kv_type_name(type),
                          variant == Variant::kReady ? "_ready"
                          : qk_norm                  ? "_norm"
                                                     : "",
                          variant == Variant::kRawToBlocks ? "_to_blocks" : ""))
      .parts(cut.workgroup, cut.lanes, cut.in_subgroups);
}

constexpr uint32_t kBindings = 8;
}  // namespace

bool AttentionStep::makes_blocks(const gpu::Device& device, const AttentionShape& shape) {
  return shape.head_dim % 32 == 0 && device.limits().max_storage_buffers > kBindings;
}

std::string AttentionStep::kernel_name(const gpu::Device& device, KvType type, uint32_t head_dim, bool qk_norm,
                                       Variant variant) {
  return step_spec(device, type, head_dim, qk_norm, variant).name();
}

Result<AttentionStep> AttentionStep::create(gpu::Device& device, KvType type, const AttentionShape& shape, bool qk_norm,
                                            uint32_t max_tokens, std::span<const Variant> variants) {
  CRIA_CHECK(supports(shape));
  AttentionStep op;
  op.shape_ = shape;
  op.max_tokens_ = max_tokens;
  op.max_splits_ = most_splits(device.limits(), shape, max_tokens);
  const auto build_step = [&](Variant variant, uint32_t group) {
    const bool is_ready = variant == Variant::kReady;
    const bool to_blocks = variant == Variant::kRawToBlocks;
    CRIA_CHECK(!(is_ready && qk_norm) && (!to_blocks || makes_blocks(device, shape)));
    SpecBuilder builder = step_spec(device, type, shape.head_dim, qk_norm, variant);
    builder.module(is_ready ? "step_ready" : "step_turning").module(to_blocks ? "step_blocks" : "step_blocks_none");
    if (to_blocks) builder.module("rounded_bytes");
    if (!is_ready) builder.norm(qk_norm, 7);
    const std::string access = is_ready ? "rrrrr--w" : qk_norm ? "rrrwwrrw" : "rrrwwr-w";
    return builder.constant("CHUNKS", shape.head_dim / 8)
        .constant("GROUP", group)
        .constant("PAGE_SIZE", kPageSize)
        .build(device, access + (to_blocks ? "w" : ""), sizeof(StepParams));
  };
  const auto build_steps = [&](Pipelines& steps, uint32_t group) -> Status {
    for (const Variant variant : variants) {
      CRIA_TRY_ASSIGN(steps[variant], build_step(variant, group));
    }
    return {};
  };
  const bool can_pair = shape.heads / shape.kv_heads % 2 == 0;
  if (can_pair) CRIA_TRY(build_steps(op.paired_, 2));
  // Software gains nothing from more workgroups, and takes long to compile.
  if (!can_pair || !device.info().is_software()) CRIA_TRY(build_steps(op.single_, 1));
  const auto build_combine = [&](bool is_half) {
    return SpecBuilder(device, "attention_combine")
        .element(is_half)
        .constant("WORKGROUP_SIZE", kCombineWorkgroup)
        .build(device, "rw", sizeof(CombineParams));
  };
  CRIA_TRY_ASSIGN(op.combine_, build_combine(false));
  if (device.features().f16) {
    CRIA_TRY_ASSIGN(op.half_combine_, build_combine(true));
  }
  return op;
}

uint64_t AttentionStep::parts_size(const gpu::Limits& limits, const AttentionShape& shape, uint32_t max_tokens) {
  return split_bytes(shape, max_tokens) / 4 * most_splits(limits, shape, max_tokens);
}

uint64_t AttentionStep::parts_size() const { return split_bytes(shape_, max_tokens_) / 4 * max_splits_; }

bool AttentionStep::record(gpu::Recorder& recorder, const Operands& operands, const Activation& y) const {
  const uint32_t positions = operands.window == 0 ? operands.longest : std::min(operands.window, operands.longest);
  const BatchBuffers& batch = operands.batch;
  // Two heads read the cache once, but where nearly all cores are idle it is faster to give each its own.
  const bool is_small = positions <= kUnsplitPositions && shape_.heads * batch.tokens <= kFewWorkgroups;
  const bool pairs = !paired_.empty() && (!is_small || single_.empty());
  const uint32_t group = pairs ? 2 : 1;
  const uint32_t workgroups = shape_.heads / group * batch.tokens;
  const uint32_t most = std::clamp(kEnoughWorkgroups / workgroups, 1U, max_splits_);
  const uint32_t least = positions <= kUnsplitPositions ? positions : kSplitPositions;
  const uint32_t split_positions = round_up(std::max(divide_up(positions, most), least), kPageSize);
  const uint32_t splits = divide_up(positions, split_positions);
  const Pipelines& steps = pairs ? paired_ : single_;
  const bool to_blocks = operands.blocks != nullptr && splits == 1 && steps.contains(Variant::kRawToBlocks);
  const StepOutput output = splits > 1  ? StepOutput::kParts
                            : to_blocks ? StepOutput::kBlocks
                            : y.is_half ? StepOutput::kF16
                                        : StepOutput::kF32;
  const StepParams params{.kv_heads = shape_.kv_heads,
                          .groups_per_kv = shape_.heads / shape_.kv_heads / group,
                          .qkv_stride = operands.qkv.stride() / 4,
                          .y_stride = y.stride() / 4,
                          .pages_per_slot = batch.pages_per_slot,
                          .window = operands.window,
                          .split_positions = split_positions,
                          .splits = splits,
                          .scale = shape_.scale,
                          .epsilon = operands.epsilon,
                          .output = output,
                          .zero = 0,
                          .has_place = batch.position ? 1U : 0U,
                          .position = batch.position.value_or(0),
                          .slot = batch.slot,
                          .first_page = batch.first_page.value_or(kInTable)};
  const gpu::Binding norms = operands.norms.valid() ? gpu::Binding(operands.norms) : operands.cos_sin;
  const gpu::Buffer& target = splits > 1 ? operands.parts : to_blocks ? operands.blocks->integers : y.buffer;
  const gpu::Binding bindings[] = {operands.qkv.buffer,
                                   batch.token_info,
                                   batch.page_table,
                                   operands.layer.keys,
                                   operands.layer.values,
                                   operands.cos_sin,
                                   norms,
                                   target,
                                   to_blocks ? operands.blocks->scales : target};
  const Variant variant = operands.is_ready ? Variant::kReady : to_blocks ? Variant::kRawToBlocks : Variant::kRaw;
  recorder.dispatch(steps.at(variant), gpu::as_params(params),
                    std::span(bindings).first(to_blocks ? kBindings + 1 : kBindings),
                    {shape_.heads / group, splits, batch.tokens});
  if (splits == 1) return to_blocks;
  const CombineParams combine{
      .heads = shape_.heads, .quarters = shape_.head_dim / 4, .splits = splits, .y_stride = y.stride()};
  const gpu::Binding combined[] = {operands.parts, y.buffer};
  recorder.dispatch(y.is_half ? half_combine_.value() : combine_, gpu::as_params(combine), combined,
                    {divide_up(shape_.q_size() / 4, kCombineWorkgroup), batch.tokens, 1});
  return false;
}

}  // namespace cria::kernels
