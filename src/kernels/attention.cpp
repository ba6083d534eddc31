#include "kernels/attention.h"

#include <algorithm>
#include <bit>

namespace cria::kernels {
namespace {
constexpr uint32_t kWriteWorkgroup = 64;
constexpr uint32_t kMinDecodeWorkgroup = 128;
struct WriteParams {
  uint32_t kv_heads, stride, k_offset, v_offset, pages_per_slot, pad[3];
};
struct AttentionParams {
  uint32_t group, kv_heads, q_stride, y_stride, pages_per_slot, window;
  float scale;
  uint32_t pad;
};

/// The tile of the prefill kernel that fits in workgroup memory.
struct Tile {
  uint32_t queries = 16;
  uint32_t keys = 64;
};

Tile choose_tile(uint32_t pairs, uint32_t memory_bytes) {
  Tile tile;
  while (tile.queries > 1 && tile.queries * pairs * 8 > memory_bytes / 2) tile.queries /= 2;
  const auto needed = [&] { return (tile.queries + tile.keys) * pairs * 8 + tile.queries * tile.keys * 4; };
  while (tile.keys > 1 && needed() > memory_bytes) tile.keys /= 2;
  return tile;
}

/// Workgroup memory beyond this is not used, so that several workgroups fit on a core.
constexpr uint32_t kTileMemoryBytes = 16384;

SpecBuilder write_spec(const gpu::Device& device, KvType type) {
  if (type == KvType::kInt8) return std::move(SpecBuilder(device, "kv_write_int8").reductions(kWriteWorkgroup));
  return std::move(SpecBuilder(device, "kv_write").kv(type));
}
}  // namespace

std::string KvWrite::kernel_name(const gpu::Device& device, KvType type) { return write_spec(device, type).name(); }

Result<KvWrite> KvWrite::create(gpu::Device& device, KvType type, uint32_t head_dim) {
  KvWrite op;
  op.is_scaled_ = type == KvType::kInt8;
  CRIA_CHECK(!op.is_scaled_ || head_dim % 8 == 0);
  SpecBuilder spec = write_spec(device, type);
  if (op.is_scaled_) {
    spec.constant("QUARTERS", head_dim / 4);
  } else {
    spec.constant("PAIRS", head_dim / 2).constant("WORKGROUP_SIZE", kWriteWorkgroup);
  }
  CRIA_TRY_ASSIGN(op.pipeline_, spec.constant("PAGE_SIZE", kPageSize).build(device, "rrrww", sizeof(WriteParams)));
  return op;
}

void KvWrite::record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv,
                     const BatchBuffers& batch, const KvLayer& layer) const {
  const uint32_t unit = is_scaled_ ? 4 : 2;  // elements that the shader reads at once
  const WriteParams params{.kv_heads = shape.kv_heads,
                           .stride = qkv.stride() / unit,
                           .k_offset = shape.q_size() / unit,
                           .v_offset = (shape.q_size() + shape.kv_size()) / unit,
                           .pages_per_slot = batch.pages_per_slot,
                           .pad = {}};
  const gpu::Binding bindings[] = {qkv.buffer, batch.token_info, batch.page_table, layer.keys, layer.values};
  if (is_scaled_) {
    return recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {shape.kv_heads, batch.tokens, 2});
  }
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings,
                    {divide_up(shape.kv_size() / 2, kWriteWorkgroup), batch.tokens, 1});
}

Result<Attention> Attention::create(gpu::Device& device, KvType type, uint32_t head_dim) {
  if (head_dim == 0 || head_dim % 2 != 0 || head_dim > kMaxHeadDim) {
    return fail(ErrorCode::kUnsupported, "attention heads of {} elements are not supported (even, at most {})",
                head_dim, kMaxHeadDim);
  }
  const uint32_t pairs = head_dim / 2;
  Attention op;
  CRIA_TRY_ASSIGN(op.decode_, SpecBuilder(device, "attention_decode")
                                  .kv(type)
                                  .reductions(std::max(kMinDecodeWorkgroup, std::bit_ceil(pairs)))
                                  .constant("PAIRS", pairs)
                                  .constant("PAGE_SIZE", kPageSize)
                                  .build(device, "rrrrrw", sizeof(AttentionParams)));
  const Tile tile = choose_tile(pairs, std::min(device.limits().max_workgroup_memory_bytes, kTileMemoryBytes));
  op.queries_ = tile.queries;
  const auto build_prefill = [&](bool is_half) {
    return SpecBuilder(device, "attention_prefill")
        .kv(type)
        .element(is_half)
        .constant("PAIRS", pairs)
        .constant("PAGE_SIZE", kPageSize)
        .constant("QUERIES", tile.queries)
        .constant("KEYS", tile.keys)
        .build(device, "rrrrrw", sizeof(AttentionParams));
  };
  CRIA_TRY_ASSIGN(op.prefill_, build_prefill(false));
  if (device.features().f16) {
    CRIA_TRY_ASSIGN(op.half_prefill_, build_prefill(true));
  }
  return op;
}

void Attention::record(gpu::Recorder& recorder, AttentionKernel kernel, const AttentionShape& shape,
                       const Activation& qkv, const BatchBuffers& batch, const KvLayer& layer, uint32_t window,
                       const Activation& y) const {
  const bool decode = kernel == AttentionKernel::kDecode;
  CRIA_CHECK(!decode || !y.is_half);
  const AttentionParams params{.group = shape.heads / shape.kv_heads,
                               .kv_heads = shape.kv_heads,
                               .q_stride = qkv.stride() / 2,
                               .y_stride = y.stride() / 2,
                               .pages_per_slot = batch.pages_per_slot,
                               .window = window,
                               .scale = shape.scale,
                               .pad = 0};
  const gpu::Binding bindings[] = {qkv.buffer,       gpu::Binding(decode ? batch.token_info : batch.tiles),
                                   batch.page_table, layer.keys,
                                   layer.values,     y.buffer};
  const gpu::Pipeline& prefill = y.is_half ? half_prefill_.value() : prefill_;
  recorder.dispatch(decode ? decode_ : prefill, gpu::as_params(params), bindings,
                    {shape.heads, decode ? batch.tokens : batch.tile_count, 1});
}

}  // namespace cria::kernels
