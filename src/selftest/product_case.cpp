#include "selftest/product_case.h"

#include <algorithm>
#include <bit>

namespace cria::selftest {
namespace {

constexpr float kEpsilon = 1e-5F;

std::string_view shader_of(const gpu::Device& device, const kernels::WeightFormat& format,
                           const ProductVariant& variant) {
  const kernels::MatVecCut cut = variant.cut.value_or(kernels::default_cut(device, {.format = format}));
  return kernels::matvec_shader(format, cut);
}

}  // namespace

kernels::MatVecSpec spec_of(const kernels::WeightFormat& format, const ProductVariant& variant,
                            const ProductShape& shape) {
  return {.format = format,
          .rows = shape.rows,
          .columns = shape.columns,
          .has_bias = variant.bias,
          .has_norm = variant.norm,
          .output = variant.output,
          .heads = variant.heads};
}

Result<ProductCase> ProductCase::create(gpu::Device& device, Random& random, const kernels::WeightFormat& format,
                                        const ProductVariant& variant, const ProductShape& shape) {
  const bool is_swiglu = variant.output == kernels::MatVecOutput::kSwiGlu;
  const uint32_t together = is_swiglu ? 2 : std::max(variant.heads.head_dim, 1U);
  Table weight = random_table(random, shape.rows, shape.columns);
  Table x = random_table(random, shape.tokens, shape.columns);
  Table magnitudes;
  const std::vector<uint32_t> shards = cut_rows(device, shape.rows, shape.columns, format, shape.shards, together);
  CRIA_TRY_ASSIGN(kernels::Matrix matrix, upload_matrix(device, weight, format, shards, &magnitudes));
  std::vector<double> bias;
  if (variant.bias) {
    bias = random_vector(random, shape.rows);
    CRIA_TRY_ASSIGN(matrix.bias, upload_vector(device, "bias", bias));
  }
  std::vector<double> norm;
  gpu::Buffer norm_buffer;
  if (variant.norm) {
    norm = random_vector(random, shape.columns);
    CRIA_TRY_ASSIGN(norm_buffer, upload_vector(device, "norm", norm));
  }
  CRIA_TRY_ASSIGN(kernels::Activation input, upload_activation(device, "x", x));

  const uint32_t columns = shape.rows / (is_swiglu ? 2 : 1);
  Image before = activation_image(Poison::kOutput, shape.tokens, columns);
  Table sum = random_table(random, shape.tokens, columns);
  if (variant.output == kernels::MatVecOutput::kAdd) before.set_rows(sum);
  CRIA_TRY_ASSIGN(Target y, Target::create(device, "y", std::move(before)));
  kernels::MatVecSpec spec = spec_of(format, variant, shape);
  if (shards.size() > 1) spec.rows = 0;
  return ProductCase{.spec = spec,
                     .quantises_x = shader_of(device, format, variant) == "matvec_blocks",
                     .weight = std::move(weight),
                     .magnitudes = std::move(magnitudes),
                     .x = std::move(x),
                     .sum = std::move(sum),
                     .bias = std::move(bias),
                     .norm = std::move(norm),
                     .matrix = std::move(matrix),
                     .input = std::move(input),
                     .norm_buffer = std::move(norm_buffer),
                     .y = std::move(y)};
}

std::optional<kernels::NormOperand> ProductCase::norm_operand() const {
  std::optional<kernels::NormOperand> operand;
  if (spec.has_norm) operand.emplace(norm_buffer, kEpsilon);
  return operand;
}

reference::Norm ProductCase::reference_norm() const { return {.weight = norm, .epsilon = kEpsilon}; }

Expected ProductCase::reference_product() const {
  return quantises_x ? reference::product_of_blocks(weight, x, reference_norm(), magnitudes)
                     : reference::product(weight, x, reference_norm(), smallest_normal(spec.format.type));
}

Result<CaseOutcome> ProductCase::check(gpu::Device& device, Expected product) const {
  const Expected values = reference::biased(std::move(product), bias);
  Expectation expectation(y.before);
  switch (spec.output) {
    case kernels::MatVecOutput::kStore: expectation.set_rows(values); break;
    case kernels::MatVecOutput::kAdd: expectation.set_rows(reference::residual_add(values, sum)); break;
    case kernels::MatVecOutput::kSwiGlu: expectation.set_rows(reference::swiglu(values)); break;
    case kernels::MatVecOutput::kRopeKv: CRIA_CHECK(false);
  }
  return y.check(device, expectation);
}

std::string matvec_kernel_name(const gpu::Device& device, const kernels::WeightFormat& format,
                               const ProductVariant& variant, uint32_t tokens) {
  const std::string_view shader = shader_of(device, format, variant);
  kernels::SpecBuilder builder(device, shader);
  if (shader == "matvec_blocks") {
    builder.blocks(format);
  } else {
    builder.weights(format);
  }
  if (variant.output == kernels::MatVecOutput::kRopeKv) builder.element(variant.heads.cache == kernels::KvType::kF16);
  builder.teams(32);
  if (variant.norm) builder.suffix("_norm");
  builder.suffix(kernels::output_suffix(variant.output));
  const uint32_t at_once = std::min({std::bit_ceil(tokens), variant.max_tokens, kernels::MatVec::kMaxTokens});
  if (at_once > 1) builder.suffix(fmt::format("_x{}", at_once));
  return builder.name();
}

}  // namespace cria::selftest
