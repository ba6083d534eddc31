#include <algorithm>

#include "kernels/attention.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 128;
constexpr uint32_t kCombineWorkgroup = 64;
/// Positions of a split, at least: below it, a second dispatch costs more than it saves.
constexpr uint32_t kSplitPositions = 256;
constexpr uint32_t kMaxSplits = 64;

/// Workgroup memory of attention_step.wgsl and of lanes_….wgsl.
uint32_t memory_bytes(KvType type, uint32_t head_dim, uint32_t group) {
  const uint32_t heads = group + 1;
  const uint32_t new_row = head_dim * kv_type_bytes(type);
  return heads * head_dim * 4 + 2 * new_row + heads * 8 * 4 + kWorkgroup * (8 + 2 * 16 + 16);
}

/// Bytes of one split's part for all tokens.
uint64_t split_bytes(const AttentionShape& shape, uint32_t max_tokens) {
  return uint64_t{max_tokens} * shape.heads * (shape.head_dim + 2) * 4;
}

/// Splits whose parts one binding holds.
uint32_t most_splits(const gpu::Limits& limits, const AttentionShape& shape, uint32_t max_tokens) {
  const uint64_t fitting = limits.max_binding_bytes / split_bytes(shape, max_tokens);
  return static_cast<uint32_t>(std::clamp<uint64_t>(fitting, 1, kMaxSplits));
}

struct StepParams {
  uint32_t kv_heads, groups_per_kv, qkv_stride, y_stride, pages_per_slot, window, split_positions, splits;
  float scale, epsilon;
  uint32_t is_direct, pad;
};
struct CombineParams {
  uint32_t heads, head_dim, splits, y_stride;
};
}  // namespace

Result<AttentionStep> AttentionStep::create(gpu::Device& device, KvType type, const AttentionShape& shape, bool qk_norm,
                                            uint32_t max_tokens) {
  CRIA_CHECK(supports(shape));
  AttentionStep op;
  op.shape_ = shape;
  const bool pairs = shape.heads / shape.kv_heads % 2 == 0 &&
                     memory_bytes(type, shape.head_dim, 2) <= device.limits().max_workgroup_memory_bytes;
  op.group_ = pairs ? 2 : 1;
  op.max_tokens_ = max_tokens;
  op.max_splits_ = most_splits(device.limits(), shape, max_tokens);
  CRIA_TRY_ASSIGN(op.step_, SpecBuilder(device, "attention_step")
                                .module(fmt::format("kv_chunks_{}", kv_type_name(type)))
                                .suffix(fmt::format("_kv_{}{}", kv_type_name(type), qk_norm ? "_norm" : ""))
                                .reductions(kWorkgroup)
                                .constant("CHUNKS", shape.head_dim / 8)
                                .constant("GROUP", op.group_)
                                .constant("QK_NORM", qk_norm)
                                .constant("PAGE_SIZE", kPageSize)
                                .build(device, "rrrwwrrw", sizeof(StepParams)));
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

void AttentionStep::record(gpu::Recorder& recorder, const Operands& operands, const Activation& y) const {
  const uint32_t positions = operands.window == 0 ? operands.longest : std::min(operands.window, operands.longest);
  const uint32_t wanted = std::clamp(divide_up(positions, kSplitPositions), 1U, max_splits_);
  const uint32_t split_positions = round_up(divide_up(positions, wanted), kWorkgroup);
  const uint32_t splits = divide_up(positions, split_positions);
  const bool is_direct = splits == 1 && !y.is_half;
  const BatchBuffers& batch = operands.batch;
  const StepParams params{.kv_heads = shape_.kv_heads,
                          .groups_per_kv = shape_.heads / shape_.kv_heads / group_,
                          .qkv_stride = operands.qkv.stride() / 4,
                          .y_stride = y.stride(),
                          .pages_per_slot = batch.pages_per_slot,
                          .window = operands.window,
                          .split_positions = split_positions,
                          .splits = splits,
                          .scale = shape_.scale,
                          .epsilon = operands.epsilon,
                          .is_direct = is_direct ? 1U : 0U,
                          .pad = 0};
  const gpu::Buffer& norms = operands.norms.valid() ? operands.norms : operands.cos_sin;
  const gpu::Buffer& target = is_direct ? y.buffer : operands.parts;
  const gpu::Binding bindings[] = {operands.qkv.buffer,
                                   batch.token_info,
                                   batch.page_table,
                                   operands.layer.keys,
                                   operands.layer.values,
                                   operands.cos_sin,
                                   norms,
                                   target};
  recorder.dispatch(step_, gpu::as_params(params), bindings, {shape_.heads / group_, splits, batch.tokens});
  if (is_direct) return;
  const CombineParams combine{
      .heads = shape_.heads, .head_dim = shape_.head_dim, .splits = splits, .y_stride = y.stride()};
  const gpu::Binding combined[] = {operands.parts, y.buffer};
  recorder.dispatch(y.is_half ? half_combine_.value() : combine_, gpu::as_params(combine), combined,
                    {divide_up(shape_.q_size(), kCombineWorkgroup), batch.tokens, 1});
}

}  // namespace cria::kernels
