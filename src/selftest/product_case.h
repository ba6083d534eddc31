// What the cases of matrix-vector kernels share: the operands of a product, and what its end should leave.
#pragma once

#include "kernels/matvec.h"
#include "selftest/cases.h"

namespace cria::selftest {

struct ProductShape {
  uint32_t rows = 1;
  uint32_t columns = 1;
  uint32_t tokens = 1;
  uint32_t shards = 1;
};

/// What decides the pipelines, the format apart.
struct ProductVariant {
  bool norm = false;
  bool bias = false;
  kernels::MatVecOutput output = kernels::MatVecOutput::kStore;
  uint32_t max_tokens = 1;
  std::optional<kernels::MatVecCut> cut = {};
  kernels::StepHeads heads = {};  ///< of kRopeKv
};

/// Of a matrix in one piece.
[[nodiscard]] kernels::MatVecSpec spec_of(const kernels::WeightFormat& format, const ProductVariant& variant,
                                          const ProductShape& shape);

/// The name of the pipeline of matvec, matvec_blocks, matvec_kept or matvec_rows that serves so many tokens.
[[nodiscard]] std::string matvec_kernel_name(const gpu::Device& device, const kernels::WeightFormat& format,
                                             const ProductVariant& variant, uint32_t tokens);

/// A product's operands with random values, and where its result goes.
struct ProductCase {
  static Result<ProductCase> create(gpu::Device& device, Random& random, const kernels::WeightFormat& format,
                                    const ProductVariant& variant, const ProductShape& shape);

  [[nodiscard]] std::optional<kernels::NormOperand> norm_operand() const;
  [[nodiscard]] reference::Norm reference_norm() const;
  [[nodiscard]] kernels::Activation output() const { return activation_of(y, sum.columns); }
  /// The values of the product as the reference has them, the bias not added.
  [[nodiscard]] Expected reference_product() const;
  /// Compares what the kernel left with the values of the product, the bias not added; not for kRopeKv. Errors:
  /// kDevice.
  [[nodiscard]] Result<CaseOutcome> check(gpu::Device& device, Expected product) const;

  kernels::MatVecSpec spec;
  bool quantises_x = false;  // as matvec_blocks does
  Table weight;
  Table magnitudes;  // of the weights, see upload_matrix
  Table x;
  Table sum;                 // what kAdd adds to
  std::vector<double> bias;  // empty without one, like the norm
  std::vector<double> norm;
  kernels::Matrix matrix;
  kernels::Activation input;
  gpu::Buffer norm_buffer;
  Target y;
};

}  // namespace cria::selftest
