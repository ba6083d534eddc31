// Cases of matmul, over every weight format.
#include <algorithm>

#include "kernels/linear.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::WeightFormat;

struct MatmulShape {
  uint32_t rows = 1;
  uint32_t columns = 1;
  uint32_t tokens = 1;
  bool bias = false;
  uint32_t shards = 1;
};

std::string describe(const MatmulShape& shape) {
  std::string text = fmt::format("rows {}, columns {}, tokens {}", shape.rows, shape.columns, shape.tokens);
  if (shape.bias) text += ", bias";
  if (shape.shards > 1) text += fmt::format(", {} shards", shape.shards);
  return text;
}

Result<CaseOutcome> run(Trial& trial, const WeightFormat& format, const MatmulShape& shape) {
  Table weight = random_table(trial.random, shape.rows, shape.columns);
  Table x = random_table(trial.random, shape.tokens, shape.columns);
  const auto shards = cut_rows(trial.device, shape.rows, shape.columns, format, shape.shards);
  CRIA_TRY_ASSIGN(kernels::Matrix matrix, upload_matrix(trial.device, weight, format, shards));
  std::vector<double> bias;
  if (shape.bias) {
    bias = random_vector(trial.random, shape.rows);
    CRIA_TRY_ASSIGN(matrix.bias, upload_vector(trial.device, "bias", bias));
  }
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y", activation_image(Poison::kOutput, shape.tokens, shape.rows)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Linear::create(trial.device, format, shape.columns, shape.bias,
                                                         kernels::LinearKernel::kMatmul));
  gpu::Recorder recorder = trial.device.record("matmul");
  op.record(recorder, matrix, input, activation_of(y, shape.rows), shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::linear(weight, x, bias, smallest_normal(format.type)));
  return y.check(trial.device, expectation);
}

/// Rows and tokens round the 64 of a tile, columns round its 16 and round the blocks.
std::vector<MatmulShape> matmul_shapes() {
  std::vector<MatmulShape> shapes;
  constexpr uint32_t kTokens[] = {1, 2, 63, 64, 65, 70, 17};
  for (const uint32_t rows : {1U, 3U, 63U, 64U, 65U, 130U}) {
    for (const uint32_t columns : {1U, 7U, 8U, 9U, 15U, 16U, 17U, 40U, 101U, 129U}) {
      const auto index = static_cast<uint32_t>(shapes.size());
      shapes.push_back({rows, columns, kTokens[index % 7], index % 2 != 0, std::min(rows, 1 + index / 2 % 3)});
    }
  }
  shapes.push_back({200, 300, 150, true, 3});
  return shapes;
}

/// The same with whole super-blocks.
std::vector<MatmulShape> super_block_shapes() {
  return {{1, 256, 1, false, 1}, {3, 512, 64, true, 2}, {65, 256, 65, true, 1}, {130, 512, 17, false, 3}};
}

}  // namespace

void add_matmul_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](const WeightFormat& format, const MatmulShape& shape) {
    const uint64_t bytes =
        std::max(activation_bytes(shape.tokens, shape.rows), activation_bytes(shape.tokens, shape.columns));
    cases.push_back({.kernel = kernels::SpecBuilder(device, "matmul").weights(format).name(),
                     .shape = describe(shape),
                     .binding_bytes = bytes,
                     .body = [=](Trial& trial) { return run(trial, format, shape); }});
  };
  for (uint32_t tokens = 1; tokens <= 70; ++tokens) {
    add(kernels::WeightType::kF32, {67, 19, tokens, tokens % 2 != 0, 1});
  }
  for (const WeightFormat& format : weight_formats()) {
    const bool whole = kernels::is_k_quant(format.type);
    for (const MatmulShape& shape : whole ? super_block_shapes() : matmul_shapes()) add(format, shape);
  }
}

}  // namespace cria::selftest
