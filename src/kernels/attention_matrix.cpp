#include "kernels/attention_matrix.h"

#include <algorithm>
#include <bit>

namespace cria::kernels {
namespace {

using Cut = AttentionMatrix::Cut;

/// Matrices of a head in one subgroup: its registers hold no more, and fewer than two have not been tried.
constexpr uint32_t kMinMatrices = 2;
constexpr uint32_t kMaxMatrices = 8;
/// Chunks of keys that an invocation carries at once: as many have names in the shader.
constexpr uint32_t kMaxFetches = 8;

struct Params {
  uint32_t group, kv_heads, q_stride, y_stride, pages_per_slot, window;
  float scale;
  uint32_t pad;
};

/// Bytes of the shader's workgroup memory.
uint32_t memory_bytes(const Cut& cut, uint32_t head_dim) {
  const uint32_t keys = 2 * cut.shape.n;
  const uint32_t key_chunks = keys * (head_dim / 8 + 1);
  const uint32_t score_vectors = cut.subgroups * cut.shape.m * (keys / 4 + 2);
  const uint32_t weight_chunks = cut.queries() * (keys / 8 + 1);
  return 16 * (key_chunks + score_vectors + weight_chunks) + 16;
}

/// True where the device can run a cut, the sizes of its matrices and subgroups being right.
bool fits(const gpu::DeviceInfo& info, const Cut& cut, uint32_t head_dim) {
  const uint32_t matrices = head_dim / cut.shape.n;
  const uint32_t invocations = cut.subgroups * info.subgroup_max_size;
  return matrices % cut.splits == 0 && cut.shape.m % cut.splits == 0 && matrices / cut.splits >= kMinMatrices &&
         matrices / cut.splits <= kMaxMatrices &&
         divide_up(2 * cut.shape.n * (head_dim / 8), invocations) <= kMaxFetches &&
         memory_bytes(cut, head_dim) <= info.limits.max_workgroup_memory_bytes &&
         invocations <= info.limits.max_workgroup_invocations;
}

/// The cut that shares its queries the least, and of those the smallest.
std::optional<Cut> cut_with(const gpu::DeviceInfo& info, const gpu::MatrixShape& shape, uint32_t head_dim) {
  const uint32_t size = info.subgroup_max_size;
  if (shape.n != shape.k || shape.k % 8 != 0 || head_dim % shape.n != 0) return std::nullopt;
  if (size != info.subgroup_min_size || size < shape.m || !std::has_single_bit(size / shape.m)) return std::nullopt;
  for (const uint32_t splits : {1U, 2U, 4U}) {
    for (const uint32_t subgroups : {4U, 8U}) {
      const Cut cut{.shape = shape, .subgroups = subgroups, .splits = splits};
      if (fits(info, cut, head_dim)) return cut;
    }
  }
  return std::nullopt;
}

SpecBuilder builder(const gpu::Device& device, const Cut& cut, KvType type, uint32_t head_dim) {
  SpecBuilder spec(device, "attention_matrix");
  spec.module(fmt::format("kv_halves_{}", kv_type_name(type))).module("kv_fetch");
  spec.matrices(cut.shape).suffix(fmt::format("_{}_kv_{}", head_dim, kv_type_name(type)));
  return spec;
}

}  // namespace

std::optional<Cut> AttentionMatrix::find_cut(const gpu::DeviceInfo& info, uint32_t head_dim) {
  if (!info.features.f16) return std::nullopt;
  for (const gpu::MatrixShape& shape : info.matrix_shapes) {
    if (const auto cut = cut_with(info, shape, head_dim)) return cut;
  }
  return std::nullopt;
}

bool AttentionMatrix::supports(const gpu::Device& device, KvType type, uint32_t head_dim) {
  return type != KvType::kF32 && find_cut(device.info(), head_dim).has_value();
}

std::string AttentionMatrix::kernel_name(const gpu::Device& device, KvType type, uint32_t head_dim) {
  return builder(device, find_cut(device.info(), head_dim).value(), type, head_dim).name();
}

Result<AttentionMatrix> AttentionMatrix::create(gpu::Device& device, KvType type, uint32_t head_dim) {
  CRIA_CHECK(supports(device, type, head_dim));
  const Cut cut = find_cut(device.info(), head_dim).value();
  AttentionMatrix op;
  op.queries_ = cut.queries();
  CRIA_TRY_ASSIGN(op.pipeline_, builder(device, cut, type, head_dim)
                                    .constant("HEAD_DIM", head_dim)
                                    .constant("PAGE_SIZE", kPageSize)
                                    .constant("SUBGROUPS", cut.subgroups)
                                    .constant("SPLITS", cut.splits)
                                    .constant("WORKGROUP_SIZE", cut.subgroups * device.info().subgroup_max_size)
                                    .build(device, "rrrrrw", sizeof(Params)));
  return op;
}

void AttentionMatrix::record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv,
                             const BatchBuffers& batch, const KvLayer& layer, uint32_t window,
                             const Activation& y) const {
  CRIA_CHECK(y.is_half && !qkv.is_half);
  const Params params{.group = shape.heads / shape.kv_heads,
                      .kv_heads = shape.kv_heads,
                      .q_stride = qkv.stride() / 4,
                      .y_stride = y.stride(),
                      .pages_per_slot = batch.pages_per_slot,
                      .window = window,
                      .scale = shape.scale,
                      .pad = 0};
  const gpu::Binding bindings[] = {qkv.buffer, batch.tiles, batch.page_table, layer.keys, layer.values, y.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {shape.heads, batch.tile_count, 1});
}

}  // namespace cria::kernels
