// Products with weight matrices for many tokens on matrix units: matmul_matrix.wgsl.
#pragma once

#include "kernels/matvec.h"

namespace cria::kernels {

/// What decides a MatrixMatMul's pipeline.
struct MatMulSpec {
  WeightFormat format;
  uint32_t rows = 0;    ///< of the matrix: a cut is chosen for them, and with splits there may be no more
  uint32_t tokens = 0;  ///< about how many at once: likewise
  uint32_t columns = 0;
  bool has_bias = false;
  MatVecOutput output = MatVecOutput::kStore;  ///< kSwiGlu gives f16, the others f32
  bool operator==(const MatMulSpec&) const = default;
  /// "512 tokens: int8 in blocks of 32, 2560 x 2048, add".
  [[nodiscard]] std::string name() const;
};

/// How the work is cut; chosen by measurement, right for any choice that is_valid_cut allows.
struct MatMulCut {
  gpu::MatrixShape shape;
  uint32_t tile_tokens = 0, tile_rows = 0;  ///< of a workgroup
  uint32_t sub_tokens = 0, sub_rows = 0;    ///< of a subgroup
  uint32_t depth = 32;                      ///< columns in workgroup memory
  uint32_t buffers = 1;                     ///< of such columns: 1 or 2
  uint32_t splits = 1;                      ///< workgroups that share all columns; above 1: up to spec.tokens tokens
  uint32_t slices = 1;                      ///< subgroups that share the columns in workgroup memory
  uint32_t ahead = 1;                       ///< how many times `depth` columns are on their way from memory: 1 or 2
  bool operator==(const MatMulCut&) const = default;
  [[nodiscard]] uint32_t subgroups() const { return (tile_tokens / sub_tokens) * (tile_rows / sub_rows) * slices; }
  [[nodiscard]] uint32_t workgroup_size(const gpu::DeviceInfo& device) const {
    return subgroups() * device.subgroup_max_size;
  }
  /// Elements of the sums that matmul_join.wgsl adds up.
  [[nodiscard]] uint64_t parts_size(const MatMulSpec& spec) const {
    return splits > 1 ? uint64_t{splits} * spec.tokens * spec.rows : 0;
  }
  /// "128 x 128 by 64 x 64, 1 x 32 deep, 16x16x16".
  [[nodiscard]] std::string name() const;
};

class MatrixMatMul {
 public:
  /// True where the device has matrix units and f16, and a cut that fits them, and the format is not f32.
  [[nodiscard]] static bool supports(const gpu::DeviceInfo& device, const WeightFormat& format);
  /// The cuts that are worth measuring, the default one first; empty only where there is no support.
  [[nodiscard]] static std::vector<MatMulCut> candidate_cuts(const gpu::DeviceInfo& device, const MatMulSpec& spec);
  [[nodiscard]] static bool is_valid_cut(const gpu::DeviceInfo& device, const MatMulSpec& spec, const MatMulCut& cut);

  /// Errors: kDevice.
  static Result<MatrixMatMul> create(gpu::Device& device, const MatMulSpec& spec, std::optional<MatMulCut> cut = {});

  /// Elements of the buffer `parts`, f32; 0 where record needs none.
  [[nodiscard]] uint64_t parts_size() const;

  /// Shapes: x f16 [tokens, weight.columns]; y [tokens, weight.rows], or half as many columns in f16 for kSwiGlu.
  /// `parts` is scratch, which products that follow each other can share.
  void record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x, const Activation& y, uint32_t tokens,
              const gpu::Buffer& parts) const;

 private:
  MatMulSpec spec_;
  MatMulCut cut_;
  gpu::Pipeline pipeline_;
  gpu::Pipeline join_;  // with splits
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
