// Rotary position embedding (rope.wgsl).
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class Rope {
 public:
  static Result<Rope> create(gpu::Device& device);
  /// Turns the first `heads` heads (queries, then keys) of each row of qkv in place.
  /// cos_sin is f32 [tokens, head_dim / 2, 2].
  void record(gpu::Recorder& recorder, const Activation& qkv, const gpu::Range& cos_sin, uint32_t heads,
              uint32_t head_dim, uint32_t tokens) const;

 private:
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
