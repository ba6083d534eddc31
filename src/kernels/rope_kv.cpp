#include "kernels/rope_kv.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 64;
struct Params {
  uint32_t heads, kv_heads, stride, pages_per_slot;
};
}  // namespace

Result<RopeKv> RopeKv::create(gpu::Device& device, KvType type, uint32_t head_dim) {
  RopeKv op;
  CRIA_TRY_ASSIGN(op.pipeline_, SpecBuilder(device, "rope_kv")
                                    .module(fmt::format("kv_chunks_{}", kv_type_name(type)))
                                    .suffix(fmt::format("_{}", kv_type_name(type)))
                                    .constant("HEAD_DIM", head_dim)
                                    .constant("PAGE_SIZE", kPageSize)
                                    .constant("WORKGROUP_SIZE", kWorkgroup)
                                    .build(device, "rrrwww", sizeof(Params)));
  return op;
}

void RopeKv::record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv,
                    const gpu::Range& cos_sin, const BatchBuffers& batch, const KvLayer& layer) const {
  const Params params{.heads = shape.heads,
                      .kv_heads = shape.kv_heads,
                      .stride = qkv.stride() / 4,
                      .pages_per_slot = batch.pages_per_slot};
  const gpu::Binding bindings[] = {cos_sin, batch.token_info, batch.page_table, qkv.buffer, layer.keys, layer.values};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings,
                    {divide_up((shape.heads + shape.kv_heads) * (shape.head_dim / 16), kWorkgroup), batch.tokens, 1});
}

}  // namespace cria::kernels
