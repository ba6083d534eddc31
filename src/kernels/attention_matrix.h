// Attention of prompts on matrix units: attention_matrix.wgsl.
#pragma once

#include "kernels/attention.h"

namespace cria::kernels {

class AttentionMatrix {
 public:
  /// How a workgroup shares out a tile of queries.
  struct Cut {
    gpu::MatrixShape shape;
    uint32_t subgroups = 0;
    uint32_t splits = 0;  ///< subgroups that share their queries, each with its part of the head

    [[nodiscard]] uint32_t queries() const { return subgroups / splits * shape.m; }
  };
  /// Absent where the device has no matrix units that the kernel can use, or where they cannot serve the head. With
  /// matrices of 16x16x16 heads are multiples of 16 from 32 to 128, of 32 up to 256, and with 48 KB of workgroup memory
  /// of 64 up to 384.
  [[nodiscard]] static std::optional<Cut> find_cut(const gpu::DeviceInfo& info, uint32_t head_dim);
  /// True where there is a cut, and keys and values are cached in f16 or int8.
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
