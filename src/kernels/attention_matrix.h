// Attention of prompts on matrix units: attention_matrix.wgsl.
#pragma once

#include "kernels/attention.h"

namespace cria::kernels {

class AttentionMatrix {
 public:
  /// True where the device has matrix units that the kernel can use, and for heads of 32, 64 or 128 elements (which,
  /// depends on the matrices) cached in f16 or int8.
  [[nodiscard]] static bool supports(const gpu::Device& device, KvType type, uint32_t head_dim);
  [[nodiscard]] static std::string kernel_name(const gpu::Device& device, KvType type, uint32_t head_dim);

  /// Errors: kDevice.
  static Result<AttentionMatrix> create(gpu::Device& device, KvType type, uint32_t head_dim);

  /// y f16 [t, heads * head_dim]; `window` positions are visible to a query (0: all before it).
  void record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv, const BatchBuffers& batch,
              const KvLayer& layer, uint32_t window, const Activation& y) const;
  /// Tokens in a tile.
  [[nodiscard]] uint32_t tile_tokens() const { return queries_; }

 private:
  gpu::Pipeline pipeline_;
  uint32_t queries_ = 0;
};

}  // namespace cria::kernels
