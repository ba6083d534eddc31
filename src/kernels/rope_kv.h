// RoPE of queries and keys and the write of the KV cache in one dispatch: rope_kv.wgsl.
#pragma once

#include "kernels/attention.h"

namespace cria::kernels {

class RopeKv {
 public:
  /// True where the kernel can serve a model; Rope and KvWrite serve any other.
  [[nodiscard]] static bool supports(const AttentionShape& shape, KvType type) {
    return shape.head_dim % 16 == 0 && type != KvType::kInt8;
  }
  /// Errors: kDevice.
  static Result<RopeKv> create(gpu::Device& device, KvType type, uint32_t head_dim);
  /// cos_sin is f32 [tokens, head_dim / 2, 2]. Leaves turned queries in qkv; its keys and values count no more.
  void record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv, const gpu::Range& cos_sin,
              const BatchBuffers& batch, const KvLayer& layer) const;

 private:
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
