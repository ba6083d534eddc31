// Products with weight matrices for any number of tokens: MatVec for a few, matmul.wgsl for many.
#pragma once

#include "kernels/matvec.h"

namespace cria::kernels {

/// Which kernel a Linear uses: by the number of tokens, or always one (for tests).
enum class LinearKernel : uint8_t { kAuto, kMatvec, kMatmul };

class Linear {
 public:
  static Result<Linear> create(gpu::Device& device, const WeightFormat& format, uint32_t columns, bool has_bias,
                               LinearKernel kernel = LinearKernel::kAuto);
  /// y[t, r] = sum_k weight[r, k] * x[t, k] (+ weight.bias[r]) for `tokens` tokens.
  /// Shapes: x [tokens, weight.columns], y [tokens, weight.rows].
  void record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x, const Activation& y,
              uint32_t tokens) const;

 private:
  MatVec matvec_;
  gpu::Pipeline matmul_;
  LinearKernel kernel_ = LinearKernel::kAuto;
  uint32_t matvec_tokens_ = 0;  // up to which MatVec is chosen
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
