// Products with weight matrices for one or a few tokens: matvec.wgsl (float weights) and matvec_blocks.wgsl
// (quantised ones, in integer arithmetic), or matvec_kept.wgsl (floats, x in registers), or on CPUs matvec_rows.wgsl,
// with RMSNorm before and a residual, SwiGLU, or RoPE and the write of the KV cache after on request.
#pragma once

#include "kernels/attention.h"

namespace cria::kernels {

/// What becomes of the values of a product; mirrors OUTPUT_… in product_output.wgsl.
enum class MatVecOutput : uint32_t {
  kStore = 0,   ///< y = value
  kAdd = 1,     ///< y += value
  kSwiGlu = 2,  ///< y[i] = silu(value[2 i]) * value[2 i + 1]: gate and up rows alternate
  kRopeKv = 3,  ///< queries, turned, to y; keys, turned, and values to the cache (MatVec alone)
};
/// What it adds to a pipeline's name: "", "_add", "_swiglu", "_rope_kv".
[[nodiscard]] std::string_view output_suffix(MatVecOutput output);

/// The rows of a product for kRopeKv: heads of queries, of keys, of values.
struct StepHeads {
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;  ///< even
  KvType cache = KvType::kF32;
  bool operator==(const StepHeads&) const = default;
};

/// What decides a MatVec's pipelines.
struct MatVecSpec {
  WeightFormat format;
  uint32_t rows = 0;  ///< of a matrix in one piece; 0: any number
  uint32_t columns = 0;
  bool has_bias = false;
  bool has_norm = false;
  MatVecOutput output = MatVecOutput::kStore;
  StepHeads heads = {};  ///< of kRopeKv
  bool operator==(const MatVecSpec&) const = default;
  /// Whether its pipelines multiply with this matrix; for kRopeKv its shards must have whole heads.
  [[nodiscard]] bool serves(const Matrix& weight) const;
  /// "int8 in blocks of 32, 2560 x 2048, norm, add".
  [[nodiscard]] std::string name() const;
};

/// How the work is cut; chosen by measurement, right for any choice.
struct MatVecCut {
  uint32_t workgroup_size = 256;  ///< a multiple of 32
  uint32_t rows = 1;              ///< that are made together; even for kSwiGlu and kRopeKv
  uint32_t split = 1;       ///< teams (subgroups) that share those rows; 0: each lane has its own (matvec_rows.wgsl)
  uint32_t depth = 1;       ///< pieces of a row that each lane reads at once
  uint32_t lanes = 0;       ///< not 0: of a row, by matvec_kept.wgsl, which has no split and chooses the depth
  uint32_t workgroups = 0;  ///< of matvec_kept.wgsl, at most; 0: as many as there are rows for
  bool operator==(const MatVecCut&) const = default;
};

/// The shader that makes the products of a cut: "matvec_kept".
[[nodiscard]] std::string_view matvec_shader(const WeightFormat& format, const MatVecCut& cut);
/// What is right for most devices, without measuring.
[[nodiscard]] MatVecCut default_cut(const gpu::Device& device, const MatVecSpec& spec);
/// The cuts that are worth measuring, the default one first.
[[nodiscard]] std::vector<MatVecCut> candidate_cuts(const gpu::Device& device, const MatVecSpec& spec);
/// Whether a cut, from whatever source, can be built for a device and spec.
[[nodiscard]] bool is_valid_cut(const gpu::Device& device, const MatVecSpec& spec, const MatVecCut& cut);

/// RMSNorm of x before the product; weight is f32 [columns].
struct NormOperand {
  const gpu::Buffer& weight;
  float epsilon = 0;
};

/// Where kRopeKv puts keys and values. cos_sin is f32 [tokens, head_dim / 2, 2].
struct RopeKvOperand {
  gpu::Range cos_sin;
  const BatchBuffers& batch;
  const KvLayer& layer;
};

class MatVec {
 public:
  /// Most tokens that share one reading of the weights.
  static constexpr uint32_t kMaxTokens = 8;

  /// Whether a device can do kRopeKv: the cache's elements have a type of their own there, and there are bindings.
  [[nodiscard]] static bool supports(const gpu::Device& device, const StepHeads& heads);

  /// Pipelines for 1, 2, 4, … up to `max_tokens` tokens at once. Errors: kDevice.
  static Result<MatVec> create(gpu::Device& device, const MatVecSpec& spec, uint32_t max_tokens = 1,
                               std::optional<MatVecCut> cut = {});

  /// Shapes: x [tokens, weight.columns]; y [tokens, weight.rows], or half as many columns for kSwiGlu.
  /// `norm` where the spec has it, `rope` for kRopeKv, which writes to y queries alone. Any number of tokens.
  void record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x,
              const std::optional<NormOperand>& norm, const Activation& y, uint32_t tokens,
              const std::optional<RopeKvOperand>& rope = {}) const;

 private:
  struct Variant {
    gpu::Pipeline pipeline;
    MatVecCut cut;
    uint32_t sets = 1;  // of rows in a workgroup, by the reported subgroup size
  };
  MatVecSpec spec_;
  std::vector<Variant> variants_;  // for 1, 2, 4, … tokens
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
