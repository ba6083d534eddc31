// Cases of matvec and matmul, over every weight type.
#include <algorithm>

#include "kernels/linear.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::LinearKernel;
using kernels::WeightType;

struct LinearShape {
  uint32_t rows = 1;
  uint32_t columns = 1;
  uint32_t tokens = 1;
  bool bias = false;
  uint32_t shards = 1;
};

std::string describe(const LinearShape& shape) {
  std::string text = fmt::format("rows {}, columns {}, tokens {}", shape.rows, shape.columns, shape.tokens);
  if (shape.bias) text += ", bias";
  if (shape.shards > 1) text += fmt::format(", {} shards", shape.shards);
  return text;
}

Result<CaseOutcome> run(Trial& trial, LinearKernel kernel, WeightType type, const LinearShape& shape) {
  Table weight = random_table(trial.random, shape.rows, shape.columns);
  Table x = random_table(trial.random, shape.tokens, shape.columns);
  const auto shards = cut_rows(trial.device, shape.rows, shape.columns, type, shape.shards);
  CRIA_TRY_ASSIGN(kernels::Matrix matrix, upload_matrix(trial.device, weight, type, shards));
  std::vector<double> bias;
  if (shape.bias) {
    bias = random_vector(trial.random, shape.rows);
    CRIA_TRY_ASSIGN(matrix.bias, upload_vector(trial.device, "bias", bias));
  }
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y", activation_image(Poison::kOutput, shape.tokens, shape.rows)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Linear::create(trial.device, type, shape.bias, kernel));
  gpu::Recorder recorder = trial.device.record("linear");
  op.record(recorder, matrix, input, activation_of(y, shape.rows), shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::linear(weight, x, bias, smallest_normal(type)));
  return y.check(trial.device, expectation);
}

/// Rows round the 4 of a workgroup, columns round the 8 of a chunk and the 512 of a step.
std::vector<LinearShape> matvec_shapes() {
  std::vector<LinearShape> shapes;
  for (const uint32_t rows : {1U, 3U, 4U, 5U, 9U}) {
    for (const uint32_t columns : {1U, 7U, 8U, 9U, 33U, 511U, 512U, 513U, 1100U}) {
      const auto index = static_cast<uint32_t>(shapes.size());
      for (const bool bias : {false, true}) {
        shapes.push_back({rows, columns, 1 + index % 3, bias, std::min(rows, 1 + index / 2 % 3)});
      }
    }
  }
  shapes.push_back({333, 521, 7, true, 4});
  return shapes;
}

/// Rows and tokens round the 64 of a tile, columns round its 16.
std::vector<LinearShape> matmul_shapes() {
  std::vector<LinearShape> shapes;
  constexpr uint32_t kTokens[] = {1, 2, 63, 64, 65, 70, 17};
  for (const uint32_t rows : {1U, 3U, 63U, 64U, 65U, 130U}) {
    for (const uint32_t columns : {1U, 7U, 8U, 9U, 15U, 16U, 17U, 40U, 101U}) {
      const auto index = static_cast<uint32_t>(shapes.size());
      shapes.push_back({rows, columns, kTokens[index % 7], index % 2 != 0, std::min(rows, 1 + index / 2 % 3)});
    }
  }
  shapes.push_back({200, 300, 150, true, 3});
  return shapes;
}

}  // namespace

void add_linear_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](LinearKernel kernel, WeightType type, const std::string& name, const LinearShape& shape) {
    const uint64_t bytes =
        std::max(activation_bytes(shape.tokens, shape.rows), activation_bytes(shape.tokens, shape.columns));
    cases.push_back({.kernel = name, .shape = describe(shape), .binding_bytes = bytes, .body = [=](Trial& trial) {
                       return run(trial, kernel, type, shape);
                     }});
  };
  const std::string matmul_f32 = kernels::SpecBuilder(device, "matmul").weights(WeightType::kF32).name();
  for (uint32_t tokens = 1; tokens <= 70; ++tokens) {
    add(LinearKernel::kMatmul, WeightType::kF32, matmul_f32, {67, 19, tokens, tokens % 2 != 0, 1});
  }
  if (!device.info().is_software()) {
    // More workgroups than one dimension of a grid holds. In software it takes too long: a test lowers the limit.
    const std::string matvec_f32 =
        kernels::SpecBuilder(device, "matvec").weights(WeightType::kF32).reductions(1).name();
    add(LinearKernel::kMatvec, WeightType::kF32, matvec_f32, {4 * 65535 + 3, 2, 1, true, 1});
  }
  for (const WeightType type : kernels::kWeightTypes) {
    const std::string matvec = kernels::SpecBuilder(device, "matvec").weights(type).reductions(1).name();
    for (const LinearShape& shape : matvec_shapes()) add(LinearKernel::kMatvec, type, matvec, shape);
    const std::string matmul = kernels::SpecBuilder(device, "matmul").weights(type).name();
    for (const LinearShape& shape : matmul_shapes()) add(LinearKernel::kMatmul, type, matmul, shape);
  }
}

}  // namespace cria::selftest
