// Cases of matmul_matrix: every cut of the work that the device can run, every weight format and every output.
#include <algorithm>
#include <set>

#include "kernels/matmul_matrix.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::MatMulCut;
using kernels::MatMulSpec;
using kernels::MatrixMatMul;
using kernels::MatVecOutput;
using kernels::WeightFormat;

struct Shape {
  uint32_t rows = 1;
  uint32_t columns = 1;
  uint32_t tokens = 1;
  bool bias = false;
  uint32_t shards = 1;
  MatVecOutput output = MatVecOutput::kStore;
};

constexpr MatVecOutput kOutputs[] = {MatVecOutput::kStore, MatVecOutput::kAdd, MatVecOutput::kSwiGlu};

std::string describe(const WeightFormat& format, const Shape& shape, const MatMulCut& cut) {
  std::string text = cut.splits > 1 ? kernels::weight_format_name(format) + ", " : "";
  text += fmt::format("rows {}, columns {}, tokens {}", shape.rows, shape.columns, shape.tokens);
  if (shape.bias) text += ", bias";
  if (shape.shards > 1) text += fmt::format(", {} shards", shape.shards);
  return text + ", tiles of " + cut.name();
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

Result<CaseOutcome> run(Trial& trial, const WeightFormat& format, const Shape& shape, const MatMulCut& cut) {
  Table weight = random_table(trial.random, shape.rows, shape.columns);
  Table x = random_table(trial.random, shape.tokens, shape.columns);
  if (kernels::is_k_quant(format.type)) leave_few(x);
  Table magnitudes;
  const bool is_swiglu = shape.output == MatVecOutput::kSwiGlu;
  const uint32_t together = is_swiglu ? 2 : 1;
  const auto shards = cut_rows(trial.device, shape.rows, shape.columns, format, shape.shards, together);
  CRIA_TRY_ASSIGN(kernels::Matrix matrix, upload_matrix(trial.device, weight, format, shards, &magnitudes));
  std::vector<double> bias;
  if (shape.bias) {
    bias = random_vector(trial.random, shape.rows);
    CRIA_TRY_ASSIGN(matrix.bias, upload_vector(trial.device, "bias", bias));
  }
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x, Element::kF16));
  const uint32_t columns = shape.rows / together;
  Image before = activation_image(Poison::kOutput, shape.tokens, columns, is_swiglu ? Element::kF16 : Element::kF32);
  Table residual;
  if (shape.output == MatVecOutput::kAdd) {
    residual = random_table(trial.random, shape.tokens, columns);
    before.set_rows(residual);
  }
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", std::move(before)));
  const MatMulSpec spec{.format = format,
                        .rows = shape.rows,
                        .tokens = shape.tokens,
                        .columns = shape.columns,
                        .has_bias = shape.bias,
                        .output = shape.output};
  CRIA_TRY_ASSIGN(const auto op, MatrixMatMul::create(trial.device, spec, cut));
  gpu::Buffer parts;
  if (op.parts_size() > 0) {
    const std::vector<uint32_t> poison(op.parts_size(), static_cast<uint32_t>(Poison::kOutput));
    CRIA_TRY_ASSIGN(parts, upload_words(trial.device, "parts", poison));
  }
  gpu::Recorder recorder = trial.device.record("matmul_matrix");
  op.record(recorder, matrix, input, activation_of(y, columns), shape.tokens, parts);
  CRIA_TRY(trial.submit(recorder));

  Expected expected = reference::linear_in_halves(weight, x, bias, kernels::is_quantised(format.type), magnitudes);
  if (shape.output == MatVecOutput::kAdd) expected = reference::residual_add(expected, residual);
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

/// Rows and tokens round the ends of tiles (16 to 128), columns round chunks (8), depths (32, 64) and blocks.
std::vector<Shape> shapes_of(const MatMulCut& cut, const WeightFormat& format, MatVecOutput output, bool many) {
  const uint32_t rows = cut.tile_rows;
  const uint32_t tokens = cut.tile_tokens;
  if (kernels::is_k_quant(format.type)) {  // how they are decoded does not depend on outputs
    if (output != MatVecOutput::kStore) return {};
    return {{rows + 2, 256, tokens + 1, true, 2, output}, {2 * rows - 2, 512, tokens, false, 1, output}};
  }
  std::vector<Shape> shapes = {{rows + 2, 40, tokens + 1, true, 2, output}, {2, 7, 1, false, 1, output}};
  if (!many) return shapes;
  for (const uint32_t columns : columns_of(format, output)) {
    const auto index = static_cast<uint32_t>(shapes.size());
    shapes.push_back({index % 2 == 0 ? rows : 2 * rows - 2, columns, index % 3 == 0 ? tokens : tokens - 1,
                      index % 4 < 2, 1 + index % 3, output});
  }
  return shapes;
}

}  // namespace

void add_matmul_matrix_cases(const gpu::Device& device, std::vector<Case>& cases) {
  std::set<std::string> seen;
  const auto add = [&](const WeightFormat& format, const Shape& shape, const MatMulCut& cut) {
    const std::string text = describe(format, shape, cut);
    kernels::SpecBuilder builder(device, cut.splits > 1 ? "matmul_join" : "matmul_matrix");
    if (cut.splits == 1) builder.matrices(cut.shape).halves(format);
    const std::string kernel =
        builder.element(shape.output == MatVecOutput::kSwiGlu).suffix(kernels::output_suffix(shape.output)).name();
    if (!seen.insert(kernel + text).second) return;
    cases.push_back({.kernel = kernel,
                     .shape = text,
                     .binding_bytes = activation_bytes(shape.tokens, std::max(shape.rows, shape.columns)),
                     .body = [=](Trial& trial) { return run(trial, format, shape, cut); }});
  };
  for (const WeightFormat& format : weight_formats()) {
    if (!MatrixMatMul::supports(device, format)) continue;
    std::vector<MatMulCut> cuts;
    for (const uint32_t tokens : {16U, 128U, 512U}) {
      for (const MatMulCut& cut :
           MatrixMatMul::candidate_cuts(device, {.format = format, .tokens = tokens, .columns = kernels::kChunk})) {
        if (std::ranges::find(cuts, cut) == cuts.end()) cuts.push_back(cut);
      }
    }
    for (const MatMulCut& cut : cuts) {
      // What is shared out does not depend on how weights are decoded.
      const bool is_example =
          format.type == kernels::WeightType::kF16 || format == WeightFormat{kernels::WeightType::kInt4, 32};
      if (cut.splits > 1 && !is_example) continue;
      const bool is_smallest = cut == *std::ranges::min_element(cuts, {}, &MatMulCut::tile_rows);
      for (const MatVecOutput output : kOutputs) {
        for (const Shape& shape : shapes_of(cut, format, output, is_smallest)) add(format, shape, cut);
      }
      if (!is_smallest || format.type != kernels::WeightType::kF16) continue;
      for (uint32_t tokens = 1; tokens <= 70; ++tokens) add(format, {34, 19, tokens, tokens % 2 != 0, 1}, cut);
    }
  }
}

}  // namespace cria::selftest
