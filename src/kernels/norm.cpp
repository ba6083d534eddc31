#include "kernels/norm.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kRowWorkgroup = 256;
constexpr uint32_t kHeadWorkgroup = 64;
struct RowParams {
  uint32_t rows, columns, stride;
  float epsilon;
};
struct HeadParams {
  uint32_t head_dim, stride, offset;
  float epsilon;
};
}  // namespace

Result<RmsNorm> RmsNorm::create(gpu::Device& device) {
  RmsNorm op;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  const auto build = [&](bool is_half) {
    return SpecBuilder(device, "rms_norm")
        .reductions(kRowWorkgroup)
        .element(is_half)
        .build(device, "rrw", sizeof(RowParams));
  };
  CRIA_TRY_ASSIGN(op.pipeline_, build(false));
  if (device.features().f16) {
    CRIA_TRY_ASSIGN(op.half_pipeline_, build(true));
  }
  return op;
}

void RmsNorm::record(gpu::Recorder& recorder, const Activation& x, const gpu::Buffer& weight, const Activation& y,
                     uint32_t rows, float epsilon) const {
  const RowParams params{.rows = rows, .columns = x.columns, .stride = x.stride() / 4, .epsilon = epsilon};
  const gpu::Binding bindings[] = {weight, x.buffer, y.buffer};
  recorder.dispatch(y.is_half ? half_pipeline_.value() : pipeline_, gpu::as_params(params), bindings,
                    folded_grid(grid_limit_, rows));
}

Result<HeadNorm> HeadNorm::create(gpu::Device& device) {
  HeadNorm op;
  CRIA_TRY_ASSIGN(op.pipeline_,
                  SpecBuilder(device, "head_norm").reductions(kHeadWorkgroup).build(device, "rw", sizeof(HeadParams)));
  return op;
}

void HeadNorm::record(gpu::Recorder& recorder, const Activation& x, const gpu::Buffer& weight, uint32_t offset,
                      uint32_t heads, uint32_t head_dim, uint32_t tokens, float epsilon) const {
  const HeadParams params{.head_dim = head_dim, .stride = x.stride(), .offset = offset, .epsilon = epsilon};
  const gpu::Binding bindings[] = {weight, x.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {heads, tokens, 1});
}

}  // namespace cria::kernels
