// Embedding lookup (embedding.wgsl).
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class Embedding {
 public:
  static Result<Embedding> create(gpu::Device& device, const WeightFormat& format);
  /// y[t, :] = table[tokens[t], :] for `count` tokens; every token must be below table.rows.
  void record(gpu::Recorder& recorder, const Matrix& table, const gpu::Buffer& tokens, const Activation& y,
              uint32_t count) const;

 private:
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
