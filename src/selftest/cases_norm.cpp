// Cases of rms_norm and head_norm.
#include <algorithm>

#include "kernels/norm.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

/// As large as configurations have it, and so small that it does not hide errors of the mean.
constexpr float kEpsilons[] = {1e-5F, 1e-12F};

Result<CaseOutcome> run_rows(Trial& trial, uint32_t rows, uint32_t columns, float epsilon, Element element) {
  Table x = random_table(trial.random, rows, columns);
  std::vector<double> weight = random_vector(trial.random, columns);
  CRIA_TRY_ASSIGN(const kernels::Activation input, upload_activation(trial.device, "x", x));
  CRIA_TRY_ASSIGN(const gpu::Buffer weight_buffer, upload_vector(trial.device, "weight", weight));
  CRIA_TRY_ASSIGN(const Target y,
                  Target::create(trial.device, "y", activation_image(Poison::kOutput, rows, columns, element)));
  CRIA_TRY_ASSIGN(const auto op, kernels::RmsNorm::create(trial.device));
  gpu::Recorder recorder = trial.device.record("rms_norm");
  op.record(recorder, input, weight_buffer, activation_of(y, columns), rows, epsilon);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(y.before);
  const Expected expected = reference::rms_norm(x, weight, epsilon);
  expectation.set_rows(element == Element::kF16 ? reference::to_half(expected) : expected);
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t column = columns; column < (columns + 3) / 4 * 4; ++column) expectation.ignore(row, column);
  }
  return y.check(trial.device, expectation);
}

void add_row_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](uint32_t rows, uint32_t columns, float epsilon, Element element) {
    const bool is_half = element == Element::kF16;
    if (is_half && !device.features().f16) return;
    cases.push_back({.kernel = kernels::SpecBuilder(device, "rms_norm").reductions(1).element(is_half).name(),
                     .shape = fmt::format("rows {}, columns {}, epsilon {}", rows, columns, epsilon),
                     .binding_bytes = activation_bytes(rows, columns),
                     .body = [=](Trial& trial) { return run_rows(trial, rows, columns, epsilon, element); }});
  };
  for (const uint32_t columns : {1U, 2U, 7U, 8U, 9U, 63U, 255U, 256U, 257U, 511U, 513U, 4096U, 5000U}) {
    for (const Element element : {Element::kF32, Element::kF16}) {
      add(1, columns, kEpsilons[0], element);
      add(5, columns, kEpsilons[1], element);
    }
  }
}

struct HeadShape {
  uint32_t heads = 1;
  uint32_t head_dim = 1;
  uint32_t tokens = 1;
  uint32_t before = 0;  // columns of a row before the heads
  uint32_t after = 0;   // and behind them
  [[nodiscard]] uint32_t columns() const { return before + heads * head_dim + after; }
};

Result<CaseOutcome> run_heads(Trial& trial, const HeadShape& shape, float epsilon) {
  Table x = random_table(trial.random, size_t{shape.tokens} * shape.heads, shape.head_dim);
  std::vector<double> weight = random_vector(trial.random, shape.head_dim);
  Image image = activation_image(Poison::kOutput, shape.tokens, shape.columns());
  const auto column_of = [&](size_t head) { return shape.before + (head % shape.heads) * shape.head_dim; };
  for (size_t head = 0; head < x.rows; ++head) {
    for (size_t i = 0; i < shape.head_dim; ++i) image.set(head / shape.heads, column_of(head) + i, x.at(head, i));
  }
  CRIA_TRY_ASSIGN(const gpu::Buffer weight_buffer, upload_vector(trial.device, "weight", weight));
  CRIA_TRY_ASSIGN(const Target target, Target::create(trial.device, "x", std::move(image)));
  CRIA_TRY_ASSIGN(const auto op, kernels::HeadNorm::create(trial.device));
  gpu::Recorder recorder = trial.device.record("head_norm");
  op.record(recorder, activation_of(target, shape.columns()), weight_buffer, shape.before, shape.heads, shape.head_dim,
            shape.tokens, epsilon);
  CRIA_TRY(trial.submit(recorder));
  const Expected expected = reference::rms_norm(x, weight, epsilon);
  Expectation expectation(target.before);
  for (size_t head = 0; head < x.rows; ++head) {
    for (size_t i = 0; i < shape.head_dim; ++i) {
      expectation.set(head / shape.heads, column_of(head) + i, expected.value.at(head, i),
                      expected.tolerance.at(head, i));
    }
  }
  return target.check(trial.device, expectation);
}

void add_head_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const std::string name = kernels::SpecBuilder(device, "head_norm").reductions(1).name();
  for (const uint32_t head_dim : {1U, 2U, 5U, 32U, 63U, 64U, 65U, 80U, 96U, 127U, 128U, 129U, 256U, 512U}) {
    for (const uint32_t heads : {1U, 3U}) {
      for (const float epsilon : kEpsilons) {
        const HeadShape shape{.heads = heads,
                              .head_dim = head_dim,
                              .tokens = 5 - heads,
                              .before = (heads - 1) * head_dim,
                              .after = heads == 1 ? 0 : 2 * head_dim};
        cases.push_back({.kernel = name,
                         .shape = fmt::format("heads {} of {}, tokens {}, offset {}, epsilon {}", heads, head_dim,
                                              shape.tokens, shape.before, epsilon),
                         .binding_bytes = activation_bytes(shape.tokens, shape.columns()),
                         .body = [=](Trial& trial) { return run_heads(trial, shape, epsilon); }});
      }
    }
  }
}

}  // namespace

void add_norm_cases(const gpu::Device& device, std::vector<Case>& cases) {
  add_row_cases(device, cases);
  add_head_cases(device, cases);
}

}  // namespace cria::selftest
