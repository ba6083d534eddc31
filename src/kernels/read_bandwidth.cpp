#include "kernels/read_bandwidth.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kVecBytes = 16;
struct Params {
  uint32_t vec4s, pad[3];
};
}  // namespace

Result<ReadBandwidth> ReadBandwidth::create(gpu::Device& device) {
  ReadBandwidth op;
  CRIA_TRY_ASSIGN(
      op.pipeline_,
      SpecBuilder(device, "read_bandwidth").constant("WORKGROUP_SIZE", kWorkgroup).build(device, "rw", sizeof(Params)));
  return op;
}

void ReadBandwidth::record(gpu::Recorder& recorder, const gpu::Buffer& x, const gpu::Buffer& sums,
                           uint32_t workgroups) const {
  CRIA_CHECK(x.size_bytes() % kVecBytes == 0 && sums.size_bytes() >= uint64_t{invocations(workgroups)} * 4);
  const Params params{.vec4s = static_cast<uint32_t>(x.size_bytes() / kVecBytes), .pad = {}};
  const gpu::Binding bindings[] = {x, sums};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {workgroups, 1, 1});
}

}  // namespace cria::kernels
