// Products of a few tokens, 2 to 8, with quantised weights, in integer arithmetic: x_blocks.wgsl, which quantises the
// tokens, and matvec_few.wgsl, which keeps them in registers while weights go by.
#pragma once

#include "kernels/matvec.h"

namespace cria::kernels {

/// Activations [tokens, columns] quantised in units of 32 columns.
struct BlockActivation {
  gpu::Buffer integers;  ///< i8 [tokens, units, 32]
  gpu::Buffer scales;    ///< f32 [tokens, units, 2]: scale, sum of the unit's integers

  /// Scratch for so many tokens. Errors: kDevice, kOutOfMemory.
  static Result<BlockActivation> create(gpu::Device& device, std::string_view label, uint32_t columns, uint32_t tokens);

  /// Bytes of each buffer, and of both, for so many columns of one token.
  [[nodiscard]] static uint64_t integer_bytes(uint32_t columns) { return uint64_t{divide_up(columns, 32U)} * 32; }
  [[nodiscard]] static uint64_t scale_bytes(uint32_t columns) { return uint64_t{divide_up(columns, 32U)} * 8; }
  [[nodiscard]] static uint64_t row_bytes(uint32_t columns) { return integer_bytes(columns) + scale_bytes(columns); }
};

class XBlocks {
 public:
  /// Errors: kDevice.
  static Result<XBlocks> create(gpu::Device& device);
  [[nodiscard]] static std::string kernel_name(const gpu::Device& device, bool has_norm);
  /// Quantises the rows of x, or of RMSNorm(x); what `y` had before is replaced.
  void record(gpu::Recorder& recorder, const Activation& x, const std::optional<NormOperand>& norm,
              const BlockActivation& y, uint32_t tokens) const;

 private:
  gpu::Pipeline plain_, normed_;
  uint32_t workgroup_ = 0;
};

class MatVecFew {
 public:
  /// Most tokens that share one reading of the weights.
  static constexpr uint32_t kMaxTokens = 8;
  /// For fewer the work is that of so many.
  static constexpr uint32_t kMinTokens = 4;

  /// The cuts that are worth measuring, the default one first; empty where the kernel cannot serve the spec, whose norm
  /// is XBlocks' matter.
  [[nodiscard]] static std::vector<MatVecCut> candidate_cuts(const gpu::Device& device, const MatVecSpec& spec);
  [[nodiscard]] static bool is_valid_cut(const gpu::Device& device, const MatVecSpec& spec, const MatVecCut& cut);

  /// Pipelines for 4 and 8 tokens at once, up to `max_tokens`. Errors: kDevice.
  static Result<MatVecFew> create(gpu::Device& device, const MatVecSpec& spec, uint32_t max_tokens,
                                  std::optional<MatVecCut> cut = {});
  [[nodiscard]] static std::string kernel_name(const gpu::Device& device, const MatVecSpec& spec, uint32_t tokens);

  /// Shapes: x [tokens, weight.columns]; y [tokens, weight.rows], or half as many columns for kSwiGlu.
  void record(gpu::Recorder& recorder, const Matrix& weight, const BlockActivation& x, const Activation& y,
              uint32_t tokens) const;

 private:
  MatVecSpec spec_;
  MatVecCut cut_;
  std::vector<gpu::Pipeline> pipelines_;  // for 4 and 8 tokens
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
