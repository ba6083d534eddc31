#include "selftest/block_activation.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cria::selftest {
namespace {

using kernels::BlockActivation;

constexpr double kUlp = 0x1p-23;

Result<CaseOutcome> check_tail(gpu::Device& device, std::string_view name, const gpu::Buffer& buffer, uint64_t bytes) {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(device, buffer));
  std::vector<uint32_t> expected;
  add_tail(expected);
  return compare_words(name, expected, std::span(words).subspan(bytes / 4));
}

CaseOutcome check_number(std::string_view what, size_t at, double value, double wanted, double tolerance) {
  const double error = std::abs(value - wanted);
  CaseOutcome one{.worst = tolerance > 0 ? error / tolerance : (error > 0 ? 2.0 : 0.0), .failure = {}};
  if (!(error <= tolerance)) {
    one.failure = fmt::format("{} {} is {}, not {} to within {}", what, at, value, wanted, tolerance);
  }
  return one;
}

}  // namespace

Result<PoisonedBlocks> PoisonedBlocks::create(gpu::Device& device, uint32_t columns, uint32_t tokens) {
  PoisonedBlocks made{.integer_bytes = tokens * BlockActivation::integer_bytes(columns),
                      .scale_bytes = tokens * BlockActivation::scale_bytes(columns),
                      .blocks = {}};
  const auto poisoned = [&](std::string_view name, uint64_t bytes) {
    return upload(device, name, std::vector<uint32_t>(bytes / 4, static_cast<uint32_t>(Poison::kOutput)));
  };
  CRIA_TRY_ASSIGN(made.blocks.integers, poisoned("integers", made.integer_bytes));
  CRIA_TRY_ASSIGN(made.blocks.scales, poisoned("scales", made.scale_bytes));
  return made;
}

Result<CaseOutcome> PoisonedBlocks::check_tails(gpu::Device& device) const {
  CRIA_TRY_ASSIGN(CaseOutcome outcome, check_tail(device, "integers", blocks.integers, integer_bytes));
  CRIA_TRY_ASSIGN(CaseOutcome scales, check_tail(device, "scales", blocks.scales, scale_bytes));
  outcome.add(std::move(scales));
  return outcome;
}

Result<CaseOutcome> PoisonedBlocks::check(gpu::Device& device, const Expected& right) const {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> integers, download(device, blocks.integers));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> scales, download(device, blocks.scales));
  CRIA_TRY_ASSIGN(CaseOutcome outcome, check_tails(device));
  const size_t columns = right.value.columns;
  const size_t units = divide_up(columns, size_t{32});
  for (size_t unit = 0; unit < right.value.rows * units; ++unit) {
    const size_t token = unit / units;
    const size_t first = unit % units * 32;
    const size_t count = std::min<size_t>(32, columns - first);
    double largest = 0;
    double error = 0;  // of the values, at most
    for (size_t i = first; i < first + count; ++i) {
      largest = std::max(largest, std::abs(right.value.at(token, i)));
      error = std::max(error, right.tolerance.at(token, i));
    }
    const double scale = std::bit_cast<float>(scales[2 * unit]);
    outcome.add(check_number("scale", unit, scale, largest / 127, (error + 5.5 * kUlp * largest) / 127));
    int32_t sum = 0;
    for (size_t i = 0; i < 32; ++i) {
      const auto integer = static_cast<int8_t>(integers[(unit * 32 + i) / 4] >> (i % 4 * 8));
      sum += integer;
      const bool is_zero = i >= count || largest == 0 || right.value.at(token, first + i) == 0;
      const double value = is_zero ? 0 : right.value.at(token, first + i) * 127 / largest;
      const double tolerance = is_zero ? 0 : 0.5 + 127 * (2 * error / largest + 5.5 * kUlp);
      outcome.add(check_number("integer", unit * 32 + i, integer, value, tolerance));
    }
    outcome.add(check_number("sum", unit, std::bit_cast<float>(scales[2 * unit + 1]), sum, 0));
  }
  return outcome;
}

}  // namespace cria::selftest
