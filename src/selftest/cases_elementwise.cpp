// Cases of swiglu, residual_add, gather_rows, sum_rows and rope: the kernels that work on one element or pair at a
// time.
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/rope.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

/// Columns round the 8 of a row's padding and the 64 of a workgroup.
constexpr uint32_t kColumns[] = {1, 2, 7, 8, 9, 63, 64, 65, 127, 129, 200, 1030};
constexpr uint32_t kRows[] = {1, 3, 17};

/// Every third gate stands where silu changes its form: round 0, and where exp(-gate) nears the end of f32.
Table gates_and_ups(Random& random, uint32_t tokens, uint32_t size) {
  constexpr double kEdges[] = {0, -0.0, -79.9, -80, -80.1, -88, -200, 79, 80.1, 200, -1e4, 1e4, 1e-6, -1e-6};
  Table table = random_table(random, tokens, size_t{2} * size);
  for (size_t i = 0; i < table.values.size(); i += 6) table.values[i] = kEdges[i / 6 % std::size(kEdges)];
  return table;
}

Result<CaseOutcome> run_swiglu(Trial& trial, uint32_t tokens, uint32_t size) {
  Table gate_up = gates_and_ups(trial.random, tokens, size);
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "gate_up", gate_up));
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", activation_image(Poison::kOutput, tokens, size)));
  CRIA_TRY_ASSIGN(const auto op, kernels::SwiGlu::create(trial.device));
  gpu::Recorder recorder = trial.device.record("swiglu");
  op.record(recorder, input, activation_of(y, size), tokens);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::swiglu(gate_up));
  return y.check(trial.device, expectation);
}

Result<CaseOutcome> run_residual_add(Trial& trial, uint32_t rows, uint32_t columns) {
  Table x = random_table(trial.random, rows, columns);
  Table sum = random_table(trial.random, rows, columns);
  for (size_t i = 0; i < sum.values.size(); i += 5) sum.values[i] = -x.values[i];
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  Image before = activation_image(Poison::kOutput, rows, columns);
  before.set_rows(sum);
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, kernels::ResidualAdd::create(trial.device));
  gpu::Recorder recorder = trial.device.record("residual_add");
  op.record(recorder, input, activation_of(y, columns), rows);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::residual_add(x, sum));
  return y.check(trial.device, expectation);
}

Result<CaseOutcome> run_gather_rows(Trial& trial, uint32_t rows, uint32_t columns) {
  const uint32_t tokens = rows + 4;
  Table x = random_table(trial.random, tokens, columns);
  std::vector<uint32_t> picked = random_indices(trial.random, rows, tokens);
  picked.front() = tokens - 1;
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  CRIA_TRY_ASSIGN(const gpu::Buffer row_buffer, upload(trial.device, "rows", picked));
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", activation_image(Poison::kOutput, rows, columns)));
  CRIA_TRY_ASSIGN(const auto op, kernels::GatherRows::create(trial.device));
  gpu::Recorder recorder = trial.device.record("gather_rows");
  op.record(recorder, input, row_buffer, activation_of(y, columns), rows);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  expectation.set_rows(reference::gather_rows(x, picked));
  return y.check(trial.device, expectation);
}

/// Into row 1 of three: a sum begins where the number of rows is even, and is added to otherwise.
Result<CaseOutcome> run_sum_rows(Trial& trial, uint32_t rows, uint32_t columns) {
  const uint32_t tokens = rows + 1;
  const bool begins = tokens % 2 == 0;
  Table x = random_table(trial.random, tokens, columns);
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  Image before = activation_image(Poison::kOutput, 3, columns);
  Table held = random_table(trial.random, 1, columns);
  for (size_t i = 0; !begins && i < columns; ++i) {
    before.set(1, i, held.at(0, i));
    held.at(0, i) = before.get(1, i);
  }
  CRIA_TRY_ASSIGN(const Target y, Target::create(trial.device, "y", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, kernels::SumRows::create(trial.device));
  gpu::Recorder recorder = trial.device.record("sum_rows");
  op.record(recorder, input, activation_of(y, columns), tokens, 1, begins);
  CRIA_TRY(trial.submit(recorder));
  const Expected sum = reference::sum_rows(x, begins ? nullptr : &held);
  Expectation expectation(y.before);
  for (size_t i = 0; i < columns; ++i) expectation.set(1, i, sum.value.at(0, i), sum.tolerance.at(0, i));
  return y.check(trial.device, expectation);
}

struct RopeShape {
  uint32_t heads = 1;        // queries and keys, which are turned
  uint32_t value_heads = 1;  // behind them, which are not
  uint32_t head_dim = 2;
  uint32_t tokens = 1;
  [[nodiscard]] uint32_t columns() const { return (heads + value_heads) * head_dim; }
};

Result<CaseOutcome> run_rope(Trial& trial, const RopeShape& shape) {
  Table x = random_table(trial.random, shape.tokens, size_t{shape.heads} * shape.head_dim);
  Table cos_sin(shape.tokens, shape.head_dim);
  for (size_t i = 0; i < cos_sin.values.size(); i += 2) {
    const double angle = 100.0 * static_cast<double>(trial.random.unit());
    cos_sin.values[i] = std::cos(angle);
    cos_sin.values[i + 1] = std::sin(angle);
  }
  CRIA_TRY_ASSIGN(const gpu::Buffer turns, upload_vector(trial.device, "cos_sin", cos_sin.values));
  Image before = activation_image(Poison::kOutput, shape.tokens, shape.columns());
  before.set_rows(x);
  CRIA_TRY_ASSIGN(const Target qkv, Target::create(trial.device, "qkv", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Rope::create(trial.device));
  gpu::Recorder recorder = trial.device.record("rope");
  op.record(recorder, activation_of(qkv, shape.columns()), turns, shape.heads, shape.head_dim, shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(qkv.before);
  expectation.set_rows(reference::rope(x, cos_sin, shape.heads, shape.head_dim));
  return qkv.check(trial.device, expectation);
}

void add_rope_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const std::string name = kernels::SpecBuilder(device, "rope").name();
  for (const uint32_t head_dim : {2U, 4U, 6U, 32U, 62U, 64U, 66U, 80U, 96U, 128U, 130U, 256U, 512U}) {
    for (const uint32_t heads : {1U, 2U, 5U}) {
      const RopeShape shape{
          .heads = heads, .value_heads = heads / 2, .head_dim = head_dim, .tokens = heads == 2 ? 1 : heads + 2};
      cases.push_back({.kernel = name,
                       .shape = fmt::format("heads {} of {}, value heads {}, tokens {}", heads, head_dim,
                                            shape.value_heads, shape.tokens),
                       .binding_bytes = activation_bytes(shape.tokens, shape.columns()),
                       .body = [=](Trial& trial) { return run_rope(trial, shape); }});
    }
  }
}

}  // namespace

void add_elementwise_cases(const gpu::Device& device, std::vector<Case>& cases) {
  struct Kernel {
    const char* shader;
    Result<CaseOutcome> (*run)(Trial&, uint32_t rows, uint32_t columns);
  };
  for (const Kernel kernel : {Kernel{"swiglu", run_swiglu},
                              {"residual_add", run_residual_add},
                              {"gather_rows", run_gather_rows},
                              {"sum_rows", run_sum_rows}}) {
    const std::string name = kernels::SpecBuilder(device, kernel.shader).name();
    for (const uint32_t columns : kColumns) {
      for (const uint32_t rows : kRows) {
        cases.push_back({.kernel = name,
                         .shape = fmt::format("rows {}, columns {}", rows, columns),
                         .binding_bytes = activation_bytes(rows + 4, 2 * columns),
                         .body = [=](Trial& trial) { return kernel.run(trial, rows, columns); }});
      }
    }
  }
  add_rope_cases(device, cases);
}

}  // namespace cria::selftest
