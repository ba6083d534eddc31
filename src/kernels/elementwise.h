// Small kernels without products: swiglu.wgsl, residual_add.wgsl, gather_rows.wgsl, sum_rows.wgsl.
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class SwiGlu {
 public:
  static Result<SwiGlu> create(gpu::Device& device);
  /// y[t, i] = silu(gate_up[t, 2 i]) * gate_up[t, 2 i + 1] for `tokens` tokens.
  void record(gpu::Recorder& recorder, const Activation& gate_up, const Activation& y, uint32_t tokens) const;

 private:
  gpu::Pipeline pipeline_;
};

class ResidualAdd {
 public:
  static Result<ResidualAdd> create(gpu::Device& device);
  /// y += x for `rows` rows.
  void record(gpu::Recorder& recorder, const Activation& x, const Activation& y, uint32_t rows) const;

 private:
  gpu::Pipeline pipeline_;
};

class GatherRows {
 public:
  static Result<GatherRows> create(gpu::Device& device);
  /// y[r, :] = x[rows[r], :] for `count` rows.
  void record(gpu::Recorder& recorder, const Activation& x, const gpu::Range& rows, const Activation& y,
              uint32_t count) const;

 private:
  gpu::Pipeline pipeline_;
};

class SumRows {
 public:
  static Result<SumRows> create(gpu::Device& device);
  /// y[row, :] = the sum of x[t, :] over `tokens` tokens, added to what is there unless `begins`.
  void record(gpu::Recorder& recorder, const Activation& x, const Activation& y, uint32_t tokens, uint32_t row,
              bool begins) const;

 private:
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
