// Cases of matmul_matrix: every cut of the work that the device can run, every weight format and every output.
#include <algorithm>
#include <set>

#include "kernels/matmul_parts.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::MatMulCut;
using kernels::MatMulSpec;
using kernels::MatrixMatMul;
using kernels::MatVecOutput;
using kernels::WeightFormat;

constexpr MatVecOutput kOutputs[] = {MatVecOutput::kStore, MatVecOutput::kAdd, MatVecOutput::kSwiGlu};

std::string describe(const MatrixProduct& product) {
  const MatMulSpec& spec = product.spec;
  std::string text = product.cut.splits > 1 ? kernels::weight_format_name(spec.format) + ", " : "";
  text += fmt::format("rows {}, columns {}, tokens {}", spec.rows, spec.columns, spec.tokens);
  if (spec.has_bias) text += ", bias";
  if (product.shards > 1) text += fmt::format(", {} shards", product.shards);
  return text + ", tiles of " + product.cut.name();
}

/// Leaves each token every sixteenth column, and all of them to 16 tokens: what f16 may lose of a super-block's columns
/// together would hide that one of them is wrong.
void leave_few(Table& x) {
  for (size_t t = 0; t < x.rows; ++t) {
    for (size_t k = 0; k < x.columns; ++k) {
      if ((k ^ (k / 16)) % 16 != t % 16) x.at(t, k) = 0;
    }
  }
}

Result<CaseOutcome> run(Trial& trial, const MatrixProduct& product) {
  const MatMulSpec& spec = product.spec;
  Table weight = random_table(trial.random, spec.rows, spec.columns);
  Table x = random_table(trial.random, spec.tokens, spec.columns);
  if (kernels::is_k_quant(spec.format.type)) leave_few(x);
  Table magnitudes;
  const bool is_swiglu = spec.output == MatVecOutput::kSwiGlu;
  const uint32_t together = is_swiglu ? 2 : 1;
  const auto shards = cut_rows(trial.device, spec.rows, spec.columns, spec.format, product.shards, together);
  CRIA_TRY_ASSIGN(kernels::Matrix matrix, upload_matrix(trial.device, weight, spec.format, shards, &magnitudes));
  std::vector<double> bias;
  if (spec.has_bias) {
    bias = random_vector(trial.random, spec.rows);
    CRIA_TRY_ASSIGN(matrix.bias, upload_vector(trial.device, "bias", bias));
  }
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x, Element::kF16));
  const uint32_t columns = spec.rows / together;
  Image before = activation_image(Poison::kOutput, spec.tokens, columns, is_swiglu ? Element::kF16 : Element::kF32);
  Table residual;
  if (spec.output == MatVecOutput::kAdd) {
    residual = random_table(trial.random, spec.tokens, columns);
    before.set_rows(residual);
  }
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, MatrixMatMul::create(trial.device, spec, product.cut));
  gpu::Buffer parts;
  if (op.parts_size() > 0) {
    const std::vector<uint32_t> poison(op.parts_size(), static_cast<uint32_t>(Poison::kOutput));
    CRIA_TRY_ASSIGN(parts, upload_words(trial.device, "parts", poison));
  }
  gpu::Recorder recorder = trial.device.record("matmul_matrix");
  op.record(recorder, matrix, input, activation_of(y, columns), spec.tokens, parts);
  CRIA_TRY(trial.submit(recorder));

  Expected expected = reference::linear_in_halves(weight, x, bias, kernels::is_quantised(spec.format.type), magnitudes);
  if (spec.output == MatVecOutput::kAdd) expected = reference::residual_add(expected, residual);
  if (is_swiglu) expected = reference::to_half(reference::swiglu(expected));
  Expectation expectation(y.before);
  expectation.set_rows(expected);
  return y.check(trial.device, expectation);
}

/// Each number of columns makes a pipeline, which takes a CPU seconds to compile: all of them with f16 only, as nothing
/// but f16's decoder depends on the format, and outputs do not depend on columns.
std::vector<uint32_t> columns_of(const WeightFormat& format, MatVecOutput output) {
  if (output != MatVecOutput::kStore) return {};
  if (format.type == kernels::WeightType::kF16) return {1, 8, 9, 31, 32, 33, 64, 101, 129, 256};
  return {101, 256};
}

/// Rows and tokens round the ends of tiles (16 to 128), columns round chunks (8), depths (32 to 256) and blocks.
std::vector<MatrixProduct> products_of(const MatMulCut& cut, const WeightFormat& format, MatVecOutput output,
                                       bool many) {
  const uint32_t rows = cut.tile_rows;
  const uint32_t tokens = cut.tile_tokens;
  std::vector<MatrixProduct> products;
  const auto add = [&](uint32_t of_rows, uint32_t columns, uint32_t of_tokens, bool bias, uint32_t shards) {
    products.push_back({.spec = {.format = format,
                                 .rows = of_rows,
                                 .tokens = of_tokens,
                                 .columns = columns,
                                 .has_bias = bias,
                                 .output = output},
                        .shards = shards,
                        .cut = cut});
  };
  if (kernels::is_k_quant(format.type)) {
    if (output != MatVecOutput::kStore) return {};  // how they are decoded does not depend on outputs
    add(rows + 2, 256, tokens + 1, true, 2);
    add(2 * rows - 2, 512, tokens, false, 1);
    return products;
  }
  const uint32_t most_tokens = kernels::kMaxPartRows / cut.splits;
  add(rows + 2, 2 * cut.depth + 40, cut.splits > 1 ? std::min(tokens + 1, most_tokens) : tokens + 1, true, 2);
  add(2, 7, 1, false, 1);
  if (!many) return products;
  for (const uint32_t columns : columns_of(format, output)) {
    const auto index = static_cast<uint32_t>(products.size());
    add(index % 2 == 0 ? rows : 2 * rows - 2, columns, index % 3 == 0 ? tokens : tokens - 1, index % 4 < 2,
        1 + index % 3);
  }
  if (output != MatVecOutput::kStore || format.type != kernels::WeightType::kF16) return products;
  for (uint32_t count = 1; count <= 70; ++count) add(34, 19, count, count % 2 != 0, 1);
  return products;
}

/// All cuts of a format's products, however many tokens they have.
std::vector<MatMulCut> cuts_of(const gpu::DeviceInfo& device, const WeightFormat& format) {
  std::vector<MatMulCut> cuts;
  if (!MatrixMatMul::supports(device, format)) return cuts;
  for (const uint32_t tokens : {16U, 32U, 64U, 128U, 512U}) {
    for (const MatMulCut& cut :
         MatrixMatMul::candidate_cuts(device, {.format = format, .tokens = tokens, .columns = kernels::kChunk})) {
      if (std::ranges::find(cuts, cut) == cuts.end()) cuts.push_back(cut);
    }
  }
  return cuts;
}

}  // namespace

std::vector<MatrixProduct> matrix_products(const gpu::DeviceInfo& device) {
  std::vector<MatrixProduct> all;
  for (const WeightFormat& format : weight_formats()) {
    const std::vector<MatMulCut> cuts = cuts_of(device, format);
    for (const MatMulCut& cut : cuts) {
      // What is shared out does not depend on how weights are decoded.
      const bool is_example =
          format.type == kernels::WeightType::kF16 || format == WeightFormat{kernels::WeightType::kInt4, 32};
      if (cut.splits > 1 && !is_example) continue;
      const bool is_smallest = cut == *std::ranges::min_element(cuts, {}, &MatMulCut::tile_rows);
      for (const MatVecOutput output : kOutputs) {
        // The parts of all tokens and rows, where columns are shared out, may be more than a device binds.
        std::ranges::copy_if(
            products_of(cut, format, output, is_smallest), std::back_inserter(all),
            [&](const MatrixProduct& product) { return MatrixMatMul::is_valid_cut(device, product.spec, cut); });
      }
    }
  }
  return all;
}

void add_matmul_matrix_cases(const gpu::Device& device, std::vector<Case>& cases) {
  std::set<std::string> seen;
  for (const MatrixProduct& product : matrix_products(device.info())) {
    const MatMulSpec& spec = product.spec;
    const bool is_split = product.cut.splits > 1;
    const std::string text = describe(product);
    kernels::SpecBuilder builder(device, is_split ? "matmul_join" : "matmul_matrix");
    if (!is_split) builder.matrices(product.cut.shape).halves(spec.format);
    const std::string kernel =
        builder.element(spec.output == MatVecOutput::kSwiGlu).suffix(kernels::output_suffix(spec.output)).name();
    if (!seen.insert(kernel + text).second) continue;
    cases.push_back({.kernel = kernel,
                     .shape = text,
                     .binding_bytes = activation_bytes(spec.tokens, std::max(spec.rows, spec.columns)),
                     .body = [product](Trial& trial) { return run(trial, product); }});
  }
}

}  // namespace cria::selftest
