// RMSNorm of rows (rms_norm.wgsl) and of single heads in place (head_norm.wgsl).
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class RmsNorm {
 public:
  static Result<RmsNorm> create(gpu::Device& device);
  /// y[r, :] = x[r, :] / rms(x[r, :]) * weight for `rows` rows; weight is f32 [x.columns]; y f16 on request.
  void record(gpu::Recorder& recorder, const Activation& x, const gpu::Buffer& weight, const Activation& y,
              uint32_t rows, float epsilon) const;

 private:
  gpu::Pipeline pipeline_;
  std::optional<gpu::Pipeline> half_pipeline_;  // on devices with f16
  uint32_t grid_limit_ = 0;
};

class HeadNorm {
 public:
  static Result<HeadNorm> create(gpu::Device& device);
  /// Normalises `heads` heads of head_dim elements, the first at element `offset` of each row of x.
  /// weight is f32 [head_dim].
  void record(gpu::Recorder& recorder, const Activation& x, const gpu::Buffer& weight, uint32_t offset, uint32_t heads,
              uint32_t head_dim, uint32_t tokens, float epsilon) const;

 private:
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
