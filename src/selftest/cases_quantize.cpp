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
/// Rounding to f16 may go either way (WGSL 15.7.6): a scale is off by less than the distance of two numbers.
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
    const double scale = extreme / -(7 + 0.25 * k);
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
  /// No NaN, no infinity, and no scale above the largest f16.
  [[nodiscard]] bool is_storable() const {
    const double largest = 65504.0 * (format.type == WeightType::kInt8 ? 127 : 9);
    return std::ranges::all_of(values, [&](double value) { return std::abs(value) <= largest; });
  }
};

/// The rules: a scale by the formula, to within f16; then integers no farther from value / scale than the nearest,
/// to within 4 ulp of the quotient (2.5 of a division, 1 of a product), 7 or 8 bits' ends excepted; for 4 bits, the
/// error of the whole block. Where the scale is below the normal f16, a device may take it for 0.
CaseOutcome check_block(const BlockImage& after, const Block& block) {
  const bool bytes = block.format.type == WeightType::kInt8;
  const uint16_t bits = after.scale_bits(block.row, block.index);
  const double scale = quant::f16_to_f32(bits);
  const auto failed = [&](const std::string& what) {
    return CaseOutcome{.worst = std::numeric_limits<double>::infinity(),
                       .failure = fmt::format("block {} of row {}: {}", block.index, block.row - kRowsBefore, what)};
  };
  if (!block.is_storable()) {
    if (std::isnan(scale)) return {};
    return failed(fmt::format("has the scale {} where NaN was to tell of its values", scale));
  }
  const double extreme = *std::ranges::max_element(block.values, {}, [](double value) { return std::abs(value); });
  const double smallest = smallest_normal(Element::kF16);
  const bool tiny = std::abs(extreme) / (bytes ? 127 : 9) < 2 * smallest;
  if (!std::isfinite(scale)) return failed(fmt::format("has the scale {}", scale));
  if (extreme == 0 && scale != 0) return failed(fmt::format("has the scale {} without values", scale));
  if (bytes &&
      std::abs(scale - std::abs(extreme) / 127) > (tiny ? 2 * smallest : kF16Error * std::abs(extreme) / 127)) {
    return failed(fmt::format("has the scale {} instead of {}", scale, std::abs(extreme) / 127));
  }
  CaseOutcome outcome;
  double squares = 0;
  for (size_t i = 0; i < block.values.size(); ++i) {
    const int integer = after.integer(block.row, block.index * block.format.block + i);
    const double quotient = scale == 0 ? 0 : block.values[i] / scale;
    squares += (block.values[i] - scale * integer) * (block.values[i] - scale * integer);
    if (tiny && integer == 0) continue;
    const double nearest = std::clamp(quotient, bytes ? -127.0 : -8.0, bytes ? 127.0 : 7.0);
    const double ratio = std::abs(nearest - integer) / (0.5 + 4 * 0x1p-23 * std::abs(quotient));
    if (ratio > 1) return failed(fmt::format("column {} is {} for {} / {}", i, integer, block.values[i], scale));
    outcome.worst = std::max(outcome.worst, ratio);
  }
  if (bytes || tiny) return outcome;
  const double allowed = largest_root_error(block.values, extreme);
  if (std::sqrt(squares) <= allowed) return outcome;
  return failed(fmt::format("has the error {} with the scale {}, more than {}", std::sqrt(squares), scale, allowed));
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

Result<CaseOutcome> run(Trial& trial, WeightType from, const WeightFormat& to, uint32_t rows, uint32_t columns) {
  Table table = random_table(trial.random, rows, columns);
  add_special_blocks(table);
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
  const auto add = [&](WeightType from, const WeightFormat& to, const Size& size) {
    const uint64_t row_bytes =
        std::max<uint64_t>(activation_bytes(1, size.columns), kernels::padded_columns(size.columns, to));
    cases.push_back({.kernel = kernels::SpecBuilder(device, "quantize")
                                   .weights(from)
                                   .suffix(fmt::format("_to_{}_{}", kernels::weight_type_name(to.type), to.block))
                                   .name(),
                     .shape = fmt::format("rows {}, columns {}", size.rows, size.columns),
                     .binding_bytes = (size.rows + kRowsBefore + kRowsBehind) * row_bytes,
                     .body = [=](Trial& trial) { return run(trial, from, to, size.rows, size.columns); }});
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
    }
  }
}

}  // namespace cria::selftest
