#include "kernels/rope.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 64;
struct Params {
  uint32_t heads, half, stride, pad;
};
}  // namespace

Result<Rope> Rope::create(gpu::Device& device) {
  Rope op;
  CRIA_TRY_ASSIGN(
      op.pipeline_,
      SpecBuilder(device, "rope").constant("WORKGROUP_SIZE", kWorkgroup).build(device, "rw", sizeof(Params)));
  return op;
}

void Rope::record(gpu::Recorder& recorder, const Activation& qkv, const gpu::Range& cos_sin, uint32_t heads,
                  uint32_t head_dim, uint32_t tokens) const {
  const Params params{.heads = heads, .half = head_dim / 2, .stride = qkv.stride(), .pad = 0};
  const gpu::Binding bindings[] = {cos_sin, qkv.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings,
                    {divide_up(heads * (head_dim / 2), kWorkgroup), tokens, 1});
}

}  // namespace cria::kernels
