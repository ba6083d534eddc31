// Cases of quantize: from each float type to the quantised formats, into the middle of a shard.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/quantize.h"
#include "quant/float16.h"
#include "selftest/block_image.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::WeightFormat;
using kernels::WeightType;

/// Rows of the shard before and behind those that the kernel writes.
constexpr uint32_t kRowsBefore = 2;
constexpr uint32_t kRowsBehind = 1;
/// A candidate for a scale of 4 bits is a quotient of f32, so that its rounding to f16 may be the other one: it is off
/// by less than the distance of two numbers.
constexpr double kF16Error = 0x1p-10;

/// The squared error of a block with the nearest integers of a scale.
double squared_error(std::span<const double> block, double scale) {
  double error = 0;
  for (const double value : block) {
    const double integer = scale == 0 ? 0 : std::clamp(std::nearbyint(value / scale), -8.0, 7.0);
    error += (value - scale * integer) * (value - scale * integer);
  }
  return error;
}

/// The most that the root of a 4-bit block's squared error may be. The kernel takes the best of nine scales s, or
/// better. Its scales are off by 2^-10 s, which moves the root by at most that times the length of the integers,
/// 8 sqrt(columns); f32 sums add less than 2^-16 of the same.
double largest_root_error(std::span<const double> block, double extreme) {
  double least = std::numeric_limits<double>::infinity();
  for (int k = 0; k < 9; ++k) {
    const double scale = std::clamp(extreme / -(7 + 0.25 * k), -65504.0, 65504.0);
    const double slack = (kF16Error + 0x1p-16) * std::abs(scale) * 8 * std::sqrt(static_cast<double>(block.size()));
    least = std::min(least, std::sqrt(squared_error(block, scale)) + slack);
  }
  return least;
}

/// Where one block of a row stands, and what it held.
struct Block {
  WeightFormat format;
  std::vector<double> values;  // those past the last column are 0
  size_t row = 0;              // of the image
  size_t index = 0;            // in the row
  /// No NaN, no infinity, and no scale that rounds to more than the largest f16.
  [[nodiscard]] bool is_storable() const {
    const double beyond = 65520.0 * (format.type == WeightType::kInt8 ? 127 : 9);
    return std::ranges::all_of(values, [&](double value) { return std::abs(value) < beyond; });
  }
};

/// The rules: for 8 bits the scale of the formula; the integers nearest to value / scale, ties to even, of either; for
/// 4 bits, the error of the whole block. f64 holds quotients of f32 and f16 well enough to tell on which side of a tie
/// they are.
CaseOutcome check_block(const BlockImage& after, const Block& block) {
  const bool bytes = block.format.type == WeightType::kInt8;
  const uint16_t bits = after.scale_bits(block.row, block.index);
  const double scale = quant::f16_to_f32(bits);
  const auto failed = [&](const std::string& what) {
    return CaseOutcome{.worst = std::numeric_limits<double>::infinity(),
                       .failure = fmt::format("block {} of row {}: {}", block.index, block.row - kRowsBefore, what)};
  };
  const bool is_storable = block.is_storable();
  if (std::isnan(scale) == is_storable) {
    return failed(fmt::format("has the scale {} where its values {} be stored", scale, is_storable ? "can" : "cannot"));
  }
  const double extreme = *std::ranges::max_element(block.values, {}, [](double value) { return std::abs(value); });
  if (!std::isfinite(scale) && is_storable) return failed(fmt::format("has the scale {}", scale));
  if (extreme == 0 && scale != 0) return failed(fmt::format("has the scale {} without values", scale));
  const uint16_t formula = quant::f32_to_f16(static_cast<float>(std::abs(extreme) / 127));
  if (bytes && is_storable && bits != formula) {
    return failed(fmt::format("has the scale {} instead of {}", scale, quant::f16_to_f32(formula)));
  }
  double squares = 0;
  for (size_t i = 0; i < block.values.size(); ++i) {
    const int integer = after.integer(block.row, block.index * block.format.block + i);
    const double quotient = is_storable && scale != 0 ? block.values[i] / scale : 0;
    const double nearest = std::nearbyint(std::clamp(quotient, bytes ? -127.0 : -8.0, bytes ? 127.0 : 7.0));
    if (integer != nearest) {
      return failed(
          fmt::format("column {} is {} instead of {} for {} / {}", i, integer, nearest, block.values[i], scale));
    }
    squares += (block.values[i] - scale * integer) * (block.values[i] - scale * integer);
  }
  const bool is_tiny = std::abs(extreme) / 9 < 2 * smallest_normal(Element::kF16);  // where f16 has fewer bits
  if (bytes || is_tiny || !is_storable) return {};
  const double allowed = largest_root_error(block.values, extreme);
  if (std::sqrt(squares) > allowed) {
    return failed(fmt::format("has the error {} with the scale {}, more than {}", std::sqrt(squares), scale, allowed));
  }
  return {.worst = allowed == 0 ? 0 : std::sqrt(squares) / allowed, .failure = {}};
}

CaseOutcome check_rows(const BlockImage& after, const WeightFormat& format, const Table& table) {
  CaseOutcome outcome;
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t index = 0; index < after.blocks(); ++index) {
      Block block{
          .format = format, .values = std::vector<double>(format.block), .row = kRowsBefore + row, .index = index};
      for (size_t i = 0; i < format.block && index * format.block + i < table.columns; ++i) {
        block.values[i] = table.at(row, index * format.block + i);
      }
      outcome.add(check_block(after, block));
    }
  }
  return outcome;
}

/// The words of a plane that belong to no row which the kernel writes must stay as they were.
CaseOutcome check_rest(std::string_view name, std::span<const uint32_t> after, size_t row_words, size_t rows) {
  std::vector<uint32_t> rest(after.begin(), after.end());
  const auto begin = rest.begin() + static_cast<ptrdiff_t>(kRowsBefore * row_words);
  std::fill_n(begin, rows * row_words, static_cast<uint32_t>(Poison::kOutput));
  return compare_words(name, std::vector<uint32_t>(after.size(), static_cast<uint32_t>(Poison::kOutput)), rest);
}

/// Every kind of block: zeros, all the same, one element alone, and numbers that are none.
void add_special_blocks(Table& table) {
  for (size_t row = 0; row < table.rows; ++row) {
    const size_t first = 32 * (row % 3);
    for (size_t i = first; i < std::min(table.columns, first + 32); ++i) {
      double& value = table.at(row, i);
      switch (row % 7) {
        case 1: value = 0; break;
        case 2: value = -0.625; break;
        case 3: value = i == first + 3 ? 0.75 : 0; break;
        case 4: value = i == first + 1 ? std::nan("") : value; break;
        case 5: value = i == first ? -std::numeric_limits<double>::infinity() : value; break;
        case 6: value = i == first ? 1e9 : value; break;  // infinity in f16
        default: break;
      }
    }
  }
}

/// Blocks where roundings are hard: of values in the middle of two integers or next to it, and of scales in the middle
/// of two f16 or next to it.
Table table_of_ties(Random& random, const WeightFormat& format, uint32_t rows, uint32_t columns) {
  const bool bytes = format.type == WeightType::kInt8;
  const int largest = bytes ? 127 : 8;
  const auto nudged = [&](double value) {
    const auto middle = static_cast<float>(value);
    const uint32_t kind = random.below(3);
    return kind == 0 ? middle : std::nextafter(middle, kind == 1 ? HUGE_VALF : -HUGE_VALF);
  };
  Table table(rows, columns);
  for (size_t first = 0; first < table.values.size(); first += format.block) {
    const auto bits = static_cast<uint16_t>(1 + random.below(0x7BFE));  // all positive f16 but the largest
    const double scale = quant::f16_to_f32(bits);
    const double middle = (scale + quant::f16_to_f32(bits + 1)) / 2;
    for (size_t i = 0; i < format.block; ++i) {
      const int integer = static_cast<int>(random.below(static_cast<uint32_t>(2 * largest))) - largest;
      table.values[first + i] = nudged(scale * (integer + 0.5));
    }
    const double extreme = (random.below(2) == 0 ? scale : middle) * largest;
    table.values[first + random.below(format.block)] = bytes ? nudged(extreme) : nudged(-extreme);
  }
  return table;
}

Result<CaseOutcome> run(Trial& trial, WeightType from, const WeightFormat& to, Table table) {
  const auto rows = static_cast<uint32_t>(table.rows);
  const auto columns = static_cast<uint32_t>(table.columns);
  Image source(from, Poison::kInput, rows, kernels::padded_columns(columns));
  source.set_rows(table);
  CRIA_TRY_ASSIGN(const gpu::Buffer source_buffer, upload(trial.device, "source", source));
  BlockImage image(to, Poison::kOutput, kRowsBefore + rows + kRowsBehind, columns);
  kernels::Matrix::Shard shard{.rows = kRowsBefore + rows + kRowsBehind};
  CRIA_TRY_ASSIGN(shard.buffer, upload_words(trial.device, "values", image.values()));
  CRIA_TRY_ASSIGN(shard.scales, upload_words(trial.device, "scales", image.scales()));
  CRIA_TRY_ASSIGN(const auto op, kernels::Quantize::create(trial.device, from, to));
  gpu::Recorder recorder = trial.device.record("quantize");
  op.record(recorder, source_buffer, rows, columns, shard, kRowsBefore);
  CRIA_TRY(trial.submit(recorder));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> values, download(trial.device, shard.buffer));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> scales, download(trial.device, shard.scales));
  image.assign(values, scales);
  CaseOutcome outcome = check_rows(image, to, table);
  const size_t row_bits = image.stride() * kernels::weight_type_bits(to.type);
  outcome.add(check_rest("values", values, row_bits / 32, rows));
  outcome.add(check_rest("scales", scales, image.blocks() / 2, rows));
  return outcome;
}

}  // namespace

void add_quantize_cases(const gpu::Device& device, std::vector<Case>& cases) {
  struct Size {
    uint32_t rows, columns;
  };
  const auto add = [&](WeightType from, const WeightFormat& to, const Size& size, bool of_ties = false) {
    const uint64_t row_bytes =
        std::max<uint64_t>(activation_bytes(1, size.columns), kernels::padded_columns(size.columns, to));
    cases.push_back({.kernel = kernels::SpecBuilder(device, "quantize")
                                   .weights(from)
                                   .suffix(fmt::format("_to_{}_{}", kernels::weight_type_name(to.type), to.block))
                                   .name(),
                     .shape = fmt::format("rows {}, columns {}{}", size.rows, size.columns, of_ties ? ", ties" : ""),
                     .binding_bytes = (size.rows + kRowsBefore + kRowsBehind) * row_bytes,
                     .body = [=](Trial& trial) {
                       if (of_ties) {
                         return run(trial, from, to, table_of_ties(trial.random, to, size.rows, size.columns));
                       }
                       Table table = random_table(trial.random, size.rows, size.columns);
                       add_special_blocks(table);
                       return run(trial, from, to, std::move(table));
                     }});
  };
  for (const WeightType from : kernels::kWeightTypes) {
    if (kernels::is_quantised(from)) continue;
    for (const WeightFormat& to : weight_formats()) {
      // The source's type does not meet the blocks' length and bits in the shader.
      const bool is_simplest = to.type == WeightType::kInt8 && to.block == 32;
      if (!kernels::is_quantised(to.type) || kernels::is_k_quant(to.type) || (from != WeightType::kF32 && !is_simplest))
        continue;
      for (const uint32_t columns : {1U, 7U, 8U, 31U, 33U, 64U, 100U, 129U, 300U}) add(from, to, {8, columns});
      add(from, to, {1, 5000});  // more pairs of blocks than a workgroup has invocations
      if (from == WeightType::kF32) add(from, to, {16, 32 * to.block}, true);
    }
  }
}

}  // namespace cria::selftest
