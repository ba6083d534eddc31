#include "kernels/attention_matrix.h"

#include <algorithm>
#include <bit>

namespace cria::kernels {
namespace {

constexpr uint32_t kSubgroups = 4;

struct Params {
  uint32_t group, kv_heads, q_stride, y_stride, pages_per_slot, window;
  float scale;
  uint32_t pad;
};

/// Bytes of the shader's workgroup memory.
uint32_t memory_bytes(const gpu::MatrixShape& shape, uint32_t head_dim) {
  const uint32_t keys = 2 * shape.n;
  const uint32_t queries = kSubgroups * shape.m;
  return 16 * (keys * (head_dim / 8 + 1) + queries * (keys / 4 + 2) + queries * (keys / 8 + 1)) + 16;
}

bool fits(const gpu::DeviceInfo& info, const gpu::MatrixShape& shape, uint32_t head_dim) {
  const uint32_t size = info.subgroup_max_size;
  const uint32_t keys = 2 * shape.n;
  const uint32_t fetches = keys * head_dim / 8 / (kSubgroups * size);
  return shape.n == shape.k && shape.k % 8 == 0 && size == info.subgroup_min_size && size >= shape.m &&
         std::has_single_bit(size / shape.m) && (head_dim == 2 * keys || head_dim == 4 * keys) &&
         std::has_single_bit(fetches) && fetches <= 4 && keys * head_dim / 8 % (kSubgroups * size) == 0 &&
         memory_bytes(shape, head_dim) <= info.limits.max_workgroup_memory_bytes &&
         kSubgroups * size <= info.limits.max_workgroup_invocations;
}

const gpu::MatrixShape* find_shape(const gpu::Device& device, uint32_t head_dim) {
  const auto& shapes = device.info().matrix_shapes;
  const auto found =
      std::ranges::find_if(shapes, [&](const gpu::MatrixShape& shape) { return fits(device.info(), shape, head_dim); });
  return found == shapes.end() ? nullptr : &*found;
}

SpecBuilder builder(const gpu::Device& device, KvType type, uint32_t head_dim) {
  SpecBuilder spec(device, "attention_matrix");
  spec.module(fmt::format("kv_halves_{}", kv_type_name(type)));
  spec.matrices(*find_shape(device, head_dim)).suffix(fmt::format("_{}_kv_{}", head_dim, kv_type_name(type)));
  return spec;
}

}  // namespace

bool AttentionMatrix::supports(const gpu::Device& device, KvType type, uint32_t head_dim) {
  return type != KvType::kF32 && device.features().f16 && find_shape(device, head_dim) != nullptr;
}

std::string AttentionMatrix::kernel_name(const gpu::Device& device, KvType type, uint32_t head_dim) {
  return builder(device, type, head_dim).name();
}

Result<AttentionMatrix> AttentionMatrix::create(gpu::Device& device, KvType type, uint32_t head_dim) {
  CRIA_CHECK(supports(device, type, head_dim));
  AttentionMatrix op;
  op.queries_ = kSubgroups * find_shape(device, head_dim)->m;
  CRIA_TRY_ASSIGN(op.pipeline_, builder(device, type, head_dim)
                                    .constant("HEAD_DIM", head_dim)
                                    .constant("PAGE_SIZE", kPageSize)
                                    .constant("SUBGROUPS", kSubgroups)
                                    .constant("WORKGROUP_SIZE", kSubgroups * device.info().subgroup_max_size)
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
