// The paged KV cache's kernels: kv_write.wgsl, kv_write_int8.wgsl, attention_decode.wgsl, attention_prefill.wgsl.
#pragma once

#include <map>
#include <optional>
#include <span>

#include "kernels/builder.h"

namespace cria::kernels {

/// Positions in one page of the KV cache.
inline constexpr uint32_t kPageSize = 32;

/// The heads of a model's attention, and how they see the past.
struct AttentionShape {
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;  ///< even, at most kMaxHeadDim
  float scale = 1;        ///< of the scores, 1 / sqrt(head_dim)

  [[nodiscard]] uint32_t q_size() const { return heads * head_dim; }
  [[nodiscard]] uint32_t kv_size() const { return kv_heads * head_dim; }
  /// Columns of a row that holds queries, keys and values.
  [[nodiscard]] uint32_t qkv_size() const { return q_size() + 2 * kv_size(); }
};
inline constexpr uint32_t kMaxHeadDim = 512;

/// One layer's cache: keys and values [pages, kv_heads, kPageSize] rows of kv_row_bytes each.
struct KvLayer {
  gpu::Buffer keys;
  gpu::Buffer values;
};

/// Where the tokens of a batch stand.
struct BatchBuffers {
  gpu::Range token_info;   ///< u32 [tokens, 2]: position, slot
  gpu::Buffer page_table;  ///< u32 [slots, pages_per_slot]: page of kPageSize positions
  gpu::Range tiles;        ///< u32 [tiles, 4]: first token, count, slot, position of the first
  uint32_t pages_per_slot = 0;
  uint32_t tokens = 0;
  uint32_t tile_count = 0;
  std::optional<uint32_t> position;    ///< of the only token, where it is known beforehand: saves a kernel the look
  uint32_t slot = 0;                   ///< likewise
  std::optional<uint32_t> first_page;  ///< likewise of its slot, where all pages follow this one: saves another look
};

class KvWrite {
 public:
  /// Errors: kDevice.
  static Result<KvWrite> create(gpu::Device& device, KvType type, uint32_t head_dim);
  [[nodiscard]] static std::string kernel_name(const gpu::Device& device, KvType type);
  void record(gpu::Recorder& recorder, const AttentionShape& shape, const Activation& qkv, const BatchBuffers& batch,
              const KvLayer& layer) const;

 private:
  gpu::Pipeline pipeline_;
  bool is_scaled_ = false;  // kv_write_int8.wgsl
};

/// Which kernel an Attention uses: decode reads the cache per query, prefill shares it in a tile.
enum class AttentionKernel : uint8_t { kDecode, kPrefill };

class Attention {
 public:
  /// Errors: kUnsupported where head_dim is odd or above kMaxHeadDim. An int8 cache needs a multiple of 8.
  static Result<Attention> create(gpu::Device& device, KvType type, uint32_t head_dim);
  /// y[t, heads * head_dim], f16 on request from the prefill kernel; `window` positions are visible to a query (0: all
  /// before it).
  void record(gpu::Recorder& recorder, AttentionKernel kernel, const AttentionShape& shape, const Activation& qkv,
              const BatchBuffers& batch, const KvLayer& layer, uint32_t window, const Activation& y) const;
  /// Tokens in a tile of the prefill kernel.
  [[nodiscard]] uint32_t tile_tokens() const { return queries_; }

 private:
  gpu::Pipeline decode_, prefill_;
  std::optional<gpu::Pipeline> half_prefill_;  // on devices with f16
  uint32_t queries_ = 0;
};

struct BlockActivation;  // matvec_few.h

/// The attention of a decode step, in one dispatch with RoPE and the write of the cache (attention_step.wgsl), and
/// a second one where the context is long enough to be split (attention_combine.wgsl).
class AttentionStep {
 public:
  /// True where the kernel can serve a model; Attention serves any other.
  [[nodiscard]] static bool supports(const AttentionShape& shape) {
    return shape.head_dim % 8 == 0 && shape.head_dim <= kMaxHeadDim;
  }
  /// True where it can also quantise what it makes of raw rows.
  [[nodiscard]] static bool makes_blocks(const gpu::Device& device, const AttentionShape& shape);
  /// How a kernel begins and ends: rows of queries, keys and values may be as products leave them, and then the result
  /// may be quantised; or they are ready (Operands::is_ready).
  enum class Variant : uint8_t { kRaw, kRawToBlocks, kReady };
  [[nodiscard]] static std::string kernel_name(const gpu::Device& device, KvType type, uint32_t head_dim, bool qk_norm,
                                               Variant variant);
  /// Errors: kDevice.
  static Result<AttentionStep> create(gpu::Device& device, KvType type, const AttentionShape& shape, bool qk_norm,
                                      uint32_t max_tokens, std::span<const Variant> variants);

  /// Elements of the buffer `parts`, f32.
  [[nodiscard]] static uint64_t parts_size(const gpu::Limits& limits, const AttentionShape& shape, uint32_t max_tokens);
  [[nodiscard]] uint64_t parts_size() const;

  struct Operands {
    const Activation& qkv;
    bool is_ready = false;      ///< queries are turned, and keys and values in the cache (MatVecOutput::kRopeKv)
    const BatchBuffers& batch;  ///< of tokens in different slots
    const KvLayer& layer;
    gpu::Range cos_sin;        ///< f32 [tokens, head_dim / 2, 2]
    const gpu::Buffer& norms;  ///< f32 [2, head_dim]; not valid without q/k norms
    float epsilon = 0;
    uint32_t window = 0;   ///< positions visible to a query; 0: all before it
    uint32_t longest = 0;  ///< positions of the longest sequence, the new one included
    const gpu::Buffer& parts;
    const BlockActivation* blocks = nullptr;  ///< where the result may go, quantised (kRawToBlocks), instead of y
  };
  /// y[t, heads * head_dim], f16 on request; writes the new keys and values to the cache. True where the result went to
  /// the blocks, which it does where contexts are short.
  bool record(gpu::Recorder& recorder, const Operands& operands, const Activation& y) const;

 private:
  AttentionShape shape_;
  uint32_t max_tokens_ = 1;
  uint32_t max_splits_ = 1;
  /// For one head of a workgroup each, or for two that share a key head.
  using Pipelines = std::map<Variant, gpu::Pipeline>;
  Pipelines single_, paired_;
  gpu::Pipeline combine_;
  std::optional<gpu::Pipeline> half_combine_;  // on devices with f16
};

}  // namespace cria::kernels
