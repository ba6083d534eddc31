// Cases of x_blocks and matvec_few together: tokens are quantised, then multiplied. Every quantised format, with and
// without norm and bias, every end, from one token to more than a pipeline takes, and the work cut in many ways.
#include <algorithm>

#include "selftest/block_activation.h"
#include "selftest/product_case.h"

namespace cria::selftest {
namespace {

using kernels::MatVecCut;
using kernels::MatVecFew;
using kernels::MatVecOutput;
using kernels::WeightFormat;
using kernels::XBlocks;

constexpr float kEpsilon = 1e-5F;

std::string describe(const ProductVariant& variant, const ProductShape& shape) {
  std::string text = fmt::format("rows {}, columns {}, tokens {}", shape.rows, shape.columns, shape.tokens);
  if (variant.norm) text += ", norm";
  if (variant.bias) text += ", bias";
  if (shape.shards > 1) text += fmt::format(", {} shards", shape.shards);
  if (!variant.cut) return text;
  return text + fmt::format(", {} workgroups of {} by {} lanes", variant.cut->workgroups, variant.cut->workgroup_size,
                            variant.cut->lanes);
}

Result<CaseOutcome> run(Trial& trial, const WeightFormat& format, const ProductVariant& variant,
                        const ProductShape& shape) {
  CRIA_TRY_ASSIGN(const auto product, ProductCase::create(trial.device, trial.random, format, variant, shape));
  CRIA_TRY_ASSIGN(const auto x, PoisonedBlocks::create(trial.device, shape.columns, shape.tokens));
  CRIA_TRY_ASSIGN(const auto quantise, XBlocks::create(trial.device));
  CRIA_TRY_ASSIGN(const auto op, MatVecFew::create(trial.device, product.spec, variant.max_tokens, variant.cut));
  gpu::Recorder recorder = trial.device.record("matvec_few");
  quantise.record(recorder, product.input, product.norm_operand(), x.blocks, shape.tokens);
  op.record(recorder, product.matrix, x.blocks, product.output(), shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  const Expected values =
      reference::product_of_blocks(product.weight, product.x, product.reference_norm(), product.magnitudes);
  CRIA_TRY_ASSIGN(CaseOutcome outcome, product.check(trial.device, values));
  CRIA_TRY_ASSIGN(CaseOutcome tails, x.check_tails(trial.device));
  outcome.add(std::move(tails));
  return outcome;
}

Result<CaseOutcome> run_blocks(Trial& trial, uint32_t columns, uint32_t tokens, bool has_norm) {
  Table x = random_table(trial.random, tokens, columns);
  for (uint32_t i = 0; i < std::min(columns, 40U); ++i) x.at(0, i) = 0;  // a unit of nothing
  if (columns <= 40) x.at(tokens - 1, columns - 1) = 1.5;
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  std::vector<double> norm = random_vector(trial.random, columns);
  CRIA_TRY_ASSIGN(const gpu::Buffer norm_buffer, upload_vector(trial.device, "norm", norm));
  std::optional<kernels::NormOperand> operand;
  if (has_norm) operand.emplace(norm_buffer, kEpsilon);
  CRIA_TRY_ASSIGN(const auto y, PoisonedBlocks::create(trial.device, columns, tokens));
  CRIA_TRY_ASSIGN(const auto op, XBlocks::create(trial.device));
  gpu::Recorder recorder = trial.device.record("x_blocks");
  op.record(recorder, input, operand, y.blocks, tokens);
  CRIA_TRY(trial.submit(recorder));
  Expected right(tokens, columns);
  right.value = x;
  if (has_norm) right = reference::rms_norm(x, norm, kEpsilon);
  return y.check(trial.device, right);
}

/// Cuts: the default one, sets that share a workgroup, and workgroups that make one set of rows after the other.
std::vector<ProductVariant> variants(const gpu::Device& device, uint32_t columns) {
  const std::vector<MatVecCut> cuts =
      MatVecFew::candidate_cuts(device, {.format = {kernels::WeightType::kInt8, 32}, .columns = columns});
  if (cuts.empty()) return {};
  const auto cut = [&](uint32_t sets, uint32_t workgroups) {
    MatVecCut changed = cuts.front();
    changed.workgroup_size = sets * changed.lanes;
    changed.workgroups = workgroups;
    return changed;
  };
  using enum MatVecOutput;
  return {
      {.norm = true, .bias = true, .output = kStore, .max_tokens = 8},
      {.norm = false, .bias = false, .output = kAdd, .max_tokens = 8, .cut = cut(1, 3)},
      {.norm = true, .bias = false, .output = kSwiGlu, .max_tokens = 4, .cut = cut(2, 2)},
      {.norm = false, .bias = true, .output = kSwiGlu, .max_tokens = 8, .cut = cut(4, 0)},
  };
}

/// Columns round a unit and a lane's share, which is a pipeline each; K-quants have whole super-blocks.
std::vector<std::pair<uint32_t, uint32_t>> sizes(const WeightFormat& format) {
  if (kernels::is_k_quant(format.type)) return {{1, 256}, {35, 512}};
  if (format.block != 32) return {{35, 1100}};
  return {{1, 1}, {7, 33}, {35, 1100}};
}

}  // namespace

void add_matvec_few_cases(const gpu::Device& device, std::vector<Case>& cases) {
  for (const bool has_norm : {false, true}) {
    for (const uint32_t columns : {1U, 31U, 33U, 256U, 2080U, 2083U}) {
      const uint32_t tokens = 1 + columns % 5;
      cases.push_back({.kernel = XBlocks::kernel_name(device, has_norm),
                       .shape = fmt::format("columns {}, tokens {}", columns, tokens),
                       .binding_bytes = activation_bytes(tokens, columns),
                       .body = [=](Trial& trial) { return run_blocks(trial, columns, tokens, has_norm); }});
    }
  }
  uint32_t index = 0;
  for (const WeightFormat& format : weight_formats()) {
    if (!kernels::is_quantised(format.type)) continue;
    for (const auto& [rows, columns] : sizes(format)) {
      for (const ProductVariant& variant : variants(device, columns)) {
        const bool pairs = variant.output == MatVecOutput::kSwiGlu;
        const ProductShape shape{.rows = pairs ? round_up(rows, 2U) : rows,
                                 .columns = columns,
                                 .tokens = 1 + index * 3 % (variant.max_tokens + 2),
                                 .shards = std::min(rows, 1 + index % 2)};
        ++index;
        const kernels::MatVecSpec spec = spec_of(format, variant, shape);
        if (variant.cut ? !MatVecFew::is_valid_cut(device, spec, *variant.cut)
                        : MatVecFew::candidate_cuts(device, spec).empty()) {
          continue;
        }
        const uint32_t at_once = std::clamp(std::bit_ceil(shape.tokens), MatVecFew::kMinTokens, variant.max_tokens);
        cases.push_back({.kernel = MatVecFew::kernel_name(device, spec, at_once),
                         .shape = describe(variant, shape),
                         .binding_bytes = std::max(activation_bytes(shape.tokens, shape.rows),
                                                   activation_bytes(shape.tokens, shape.columns)),
                         .body = [=](Trial& trial) { return run(trial, format, variant, shape); }});
      }
    }
  }
}

}  // namespace cria::selftest
