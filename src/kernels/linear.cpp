#include "kernels/linear.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kMatmulTile = 64;
/// Up to this many tokens, reading the weights once per token beats filling 64-token tiles.
constexpr uint32_t kMatvecTokens = 6;
/// In software, where MatVec makes several tokens at once, tiles pay from here on only.
constexpr uint32_t kSoftwareMatvecTokens = 64;
struct MatmulParams {
  uint32_t rows, columns, tokens, x_stride, y_stride, first_row, pad[2];
};
}  // namespace

Result<Linear> Linear::create(gpu::Device& device, const WeightFormat& format, uint32_t columns, bool has_bias,
                              LinearKernel kernel) {
  Linear op;
  op.kernel_ = kernel;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  const bool is_software = device.info().is_software();
  op.matvec_tokens_ = is_software ? kSoftwareMatvecTokens : kMatvecTokens;
  if (kernel != LinearKernel::kMatmul) {
    CRIA_TRY_ASSIGN(op.matvec_, MatVec::create(device, {.format = format, .columns = columns, .has_bias = has_bias},
                                               is_software ? MatVec::kMaxTokens : 1));
  }
  if (kernel != LinearKernel::kMatvec) {
    CRIA_TRY_ASSIGN(op.matmul_, SpecBuilder(device, "matmul")
                                    .weights(format)
                                    .constant("HAS_BIAS", has_bias)
                                    .build(device, "rrrrw", sizeof(MatmulParams)));
  }
  return op;
}

void Linear::record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x, const Activation& y,
                    uint32_t tokens) const {
  if (kernel_ == LinearKernel::kMatvec || (kernel_ == LinearKernel::kAuto && tokens <= matvec_tokens_)) {
    return matvec_.record(recorder, weight, x, {}, y, tokens);
  }
  for (const Matrix::Shard& shard : weight.shards) {
    const gpu::Buffer& bias = weight.bias.valid() ? weight.bias : shard.buffer;
    const gpu::Binding bindings[] = {shard.buffer, shard.scales_or_any(), x.buffer, bias, y.buffer};
    const MatmulParams params{.rows = shard.rows,
                              .columns = weight.columns,
                              .tokens = tokens,
                              .x_stride = x.stride() / 4,
                              .y_stride = y.stride(),
                              .first_row = shard.first_row,
                              .pad = {}};
    recorder.dispatch(matmul_, gpu::as_params(params), bindings,
                      folded_grid(grid_limit_, divide_up(shard.rows, kMatmulTile), divide_up(tokens, kMatmulTile)));
  }
}

}  // namespace cria::kernels
