#include "kernels/elementwise.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 64;
struct SwiGluParams {
  uint32_t size, x_stride, y_stride, pad;
};
struct RowParams {
  uint32_t columns, stride, pad[2];
};
struct SumParams {
  uint32_t columns, stride, tokens, row, begins, pad[3];
};

Result<gpu::Pipeline> build(gpu::Device& device, std::string_view shader, std::string_view access, uint32_t bytes) {
  return SpecBuilder(device, shader).constant("WORKGROUP_SIZE", kWorkgroup).build(device, access, bytes);
}
}  // namespace

Result<SwiGlu> SwiGlu::create(gpu::Device& device) {
  SwiGlu op;
  CRIA_TRY_ASSIGN(op.pipeline_, build(device, "swiglu", "rw", sizeof(SwiGluParams)));
  return op;
}

void SwiGlu::record(gpu::Recorder& recorder, const Activation& gate_up, const Activation& y, uint32_t tokens) const {
  const SwiGluParams params{.size = y.columns, .x_stride = gate_up.stride() / 2, .y_stride = y.stride(), .pad = 0};
  const gpu::Binding bindings[] = {gate_up.buffer, y.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {divide_up(y.columns, kWorkgroup), tokens, 1});
}

Result<ResidualAdd> ResidualAdd::create(gpu::Device& device) {
  ResidualAdd op;
  CRIA_TRY_ASSIGN(op.pipeline_, build(device, "residual_add", "rw", sizeof(RowParams)));
  return op;
}

void ResidualAdd::record(gpu::Recorder& recorder, const Activation& x, const Activation& y, uint32_t rows) const {
  const RowParams params{.columns = y.columns, .stride = y.stride(), .pad = {}};
  const gpu::Binding bindings[] = {x.buffer, y.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {divide_up(y.columns, kWorkgroup), rows, 1});
}

Result<GatherRows> GatherRows::create(gpu::Device& device) {
  GatherRows op;
  CRIA_TRY_ASSIGN(op.pipeline_, build(device, "gather_rows", "rrw", sizeof(RowParams)));
  return op;
}

void GatherRows::record(gpu::Recorder& recorder, const Activation& x, const gpu::Range& rows, const Activation& y,
                        uint32_t count) const {
  const RowParams params{.columns = y.columns, .stride = y.stride(), .pad = {}};
  const gpu::Binding bindings[] = {x.buffer, rows, y.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {divide_up(y.columns, kWorkgroup), count, 1});
}

Result<SumRows> SumRows::create(gpu::Device& device) {
  SumRows op;
  CRIA_TRY_ASSIGN(op.pipeline_, build(device, "sum_rows", "rw", sizeof(SumParams)));
  return op;
}

void SumRows::record(gpu::Recorder& recorder, const Activation& x, const Activation& y, uint32_t tokens, uint32_t row,
                     bool begins) const {
  const SumParams params{
      .columns = y.columns, .stride = y.stride(), .tokens = tokens, .row = row, .begins = begins ? 1U : 0U, .pad = {}};
  const gpu::Binding bindings[] = {x.buffer, y.buffer};
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {divide_up(y.columns, kWorkgroup), 1, 1});
}

}  // namespace cria::kernels
