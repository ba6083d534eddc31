#include "selftest/harness.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/float16.h"
#include "selftest/block_image.h"
#include "selftest/super_block_image.h"

namespace cria::selftest {
namespace {

uint32_t element_bits(Element type, std::span<const uint32_t> words, size_t index) {
  if (kernels::weight_type_bytes(type) == 4) return words[index];
  return (words[index / 2] >> (16 * (index % 2))) & 0xFFFFU;
}

double decode(Element type, uint32_t bits) {
  switch (type) {
    case Element::kF32: return std::bit_cast<float>(bits);
    case Element::kF16: return quant::f16_to_f32(static_cast<uint16_t>(bits));
    case Element::kBF16: return quant::bf16_to_f32(static_cast<uint16_t>(bits));
    default: break;  // quantised types have no single elements: see BlockImage
  }
  return 0;
}

uint32_t encode(Element type, float value) {
  switch (type) {
    case Element::kF32: return std::bit_cast<uint32_t>(value);
    case Element::kF16: return quant::f32_to_f16(value);
    case Element::kBF16: return quant::f32_to_bf16(value);
    default: break;
  }
  return 0;
}

/// The error as a multiple of its tolerance: infinite for NaN, for a tolerance that is no number, and for any
/// difference where none is allowed.
double error_ratio(double got, const Expectation::Entry& entry) {
  const double error = std::abs(got - entry.value);
  if (!std::isfinite(error) || !std::isfinite(entry.tolerance)) return std::numeric_limits<double>::infinity();
  if (error == 0) return 0;
  return entry.tolerance > 0 ? error / entry.tolerance : std::numeric_limits<double>::infinity();
}

}  // namespace

double smallest_normal(Element type) { return type == Element::kF16 ? 0x1p-14 : 0x1p-126; }

Image::Image(Element type, Poison poison, size_t rows, size_t stride)
    : type_(type),
      stride_(stride),
      words_(divide_up<size_t>(rows * stride * kernels::weight_type_bytes(type), 4) + kTailWords,
             static_cast<uint32_t>(poison)) {}

Image::Image(const Image& shape, std::span<const uint32_t> words) : Image(shape) {
  CRIA_CHECK(words.size() == words_.size());
  std::ranges::copy(words, words_.begin());
}

void Image::set(size_t row, size_t column, double value) {
  const size_t index = row * stride_ + column;
  const uint32_t bits = encode(type_, static_cast<float>(value));
  if (kernels::weight_type_bytes(type_) == 4) {
    words_[index] = bits;
    return;
  }
  const size_t shift = 16 * (index % 2);
  words_[index / 2] = (words_[index / 2] & ~(0xFFFFU << shift)) | (bits << shift);
}

double Image::get(size_t row, size_t column) const {
  return decode(type_, element_bits(type_, words_, row * stride_ + column));
}

size_t Image::elements() const {
  const uint32_t element_bytes = kernels::weight_type_bytes(type_);
  CRIA_CHECK(element_bytes != 0);  // a float type
  return words_.size() * 4 / element_bytes;
}

void Image::set_rows(Table& table) {
  for (size_t r = 0; r < table.rows; ++r) {
    for (size_t i = 0; i < table.columns; ++i) {
      set(r, i, table.at(r, i));
      table.at(r, i) = get(r, i);
    }
  }
}

void Expectation::set(size_t row, size_t column, double value, double tolerance) {
  entry(row, column) = Entry{.value = value, .tolerance = tolerance};
}

void Expectation::ignore(size_t row, size_t column) { entry(row, column) = Entry{.ignored = true}; }

void Expectation::set_rows(const Expected& expected, size_t first_column) {
  for (size_t r = 0; r < expected.value.rows; ++r) {
    for (size_t i = 0; i < expected.value.columns; ++i) {
      set(r, first_column + i, expected.value.at(r, i), expected.tolerance.at(r, i));
    }
  }
}

void CaseOutcome::add(CaseOutcome other) {
  worst = std::max(worst, other.worst);
  if (ok()) failure = std::move(other.failure);
}

CaseOutcome compare(std::string_view name, const Image& before, std::span<const uint32_t> after,
                    const Expectation& expectation) {
  CRIA_CHECK(after.size() == before.words().size() && expectation.elements().size() == before.elements());
  CaseOutcome outcome;
  const auto place = [&](size_t index) {
    return fmt::format("{}[{}, {}]", name, index / before.stride(), index % before.stride());
  };
  for (size_t index = 0; index < before.elements(); ++index) {
    const uint32_t bits = element_bits(before.type(), after, index);
    const std::optional<Expectation::Entry>& entry = expectation.elements()[index];
    if (!entry) {
      const uint32_t old = element_bits(before.type(), before.words(), index);
      if (bits != old && outcome.ok()) {
        outcome.worst = std::numeric_limits<double>::infinity();
        outcome.failure = fmt::format("{} was written (0x{:x}, before 0x{:x}), but is not the kernel's to write",
                                      place(index), bits, old);
      }
      continue;
    }
    if (entry->ignored) continue;
    const double got = decode(before.type(), bits);
    const double ratio = error_ratio(got, *entry);
    outcome.worst = std::max(outcome.worst, ratio);
    if (ratio > 1 && outcome.ok()) {
      outcome.failure = fmt::format("{} is {:.9g} instead of {:.9g} (tolerance {:.3g})", place(index), got,
                                    entry->value, entry->tolerance);
    }
  }
  return outcome;
}

CaseOutcome compare_words(std::string_view name, std::span<const uint32_t> expected, std::span<const uint32_t> after) {
  CRIA_CHECK(expected.size() == after.size());
  const auto [right, got] = std::mismatch(expected.begin(), expected.end(), after.begin());
  if (right == expected.end()) return {};
  return {.worst = std::numeric_limits<double>::infinity(),
          .failure = fmt::format("{}[{}] is {} instead of {}", name, right - expected.begin(), *got, *right)};
}

void add_tail(std::vector<uint32_t>& words) {
  words.resize(words.size() + kTailWords, static_cast<uint32_t>(Poison::kInput));
}

Result<gpu::Buffer> upload_words(gpu::Device& device, std::string_view name, std::span<const uint32_t> words) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, device.create_buffer(name, words.size_bytes(), gpu::MemoryKind::kScratch));
  CRIA_TRY(device.write(buffer, 0, std::as_bytes(words)));
  return buffer;
}

Result<gpu::Buffer> upload(gpu::Device& device, std::string_view name, const Image& image) {
  return upload_words(device, name, image.words());
}

Result<gpu::Buffer> upload(gpu::Device& device, std::string_view name, std::vector<uint32_t> words) {
  add_tail(words);
  return upload_words(device, name, words);
}

Result<std::vector<uint32_t>> download(gpu::Device& device, const gpu::Buffer& buffer) {
  CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, device.read(buffer, 0, buffer.size_bytes()));
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

Result<Target> Target::create(gpu::Device& device, std::string_view name, Image before) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, upload(device, name, before));
  return Target{.name = std::string(name), .before = std::move(before), .buffer = std::move(buffer)};
}

Result<CaseOutcome> Target::check(gpu::Device& device, const Expectation& expectation) const {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(device, buffer));
  return compare(name, before, words, expectation);
}

Image activation_image(Poison poison, size_t rows, size_t columns, Element element) {
  return {element, poison, rows, kernels::padded_columns(static_cast<uint32_t>(columns))};
}

Result<kernels::Activation> upload_activation(gpu::Device& device, std::string_view name, Table& table,
                                              Element element) {
  Image image = activation_image(Poison::kInput, table.rows, table.columns, element);
  image.set_rows(table);
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, upload(device, name, image));
  return kernels::Activation{.buffer = std::move(buffer),
                             .columns = static_cast<uint32_t>(table.columns),
                             .is_half = element == Element::kF16};
}

kernels::Activation activation_of(const Target& target, size_t columns) {
  return {.buffer = target.buffer,
          .columns = static_cast<uint32_t>(columns),
          .is_half = target.before.type() == Element::kF16};
}

Result<gpu::Buffer> upload_vector(gpu::Device& device, std::string_view name, std::vector<double>& values) {
  Image image(Element::kF32, Poison::kInput, 1, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    image.set(0, i, values[i]);
    values[i] = image.get(0, i);
  }
  return upload(device, name, image);
}

namespace {

Table rows_of(const Table& table, size_t first, size_t rows) {
  Table part(rows, table.columns);
  std::copy_n(table.values.begin() + static_cast<ptrdiff_t>(first * table.columns), part.values.size(),
              part.values.begin());
  return part;
}

/// A shard with a table's rows; changes the table's values to those of the format.
Result<kernels::Matrix::Shard> upload_shard(gpu::Device& device, Table& table, const kernels::WeightFormat& format,
                                            Table& magnitudes) {
  kernels::Matrix::Shard shard{.rows = static_cast<uint32_t>(table.rows)};
  if (kernels::is_k_quant(format.type)) {
    const SuperBlockImage image = make_up_super_blocks(format.type, table, magnitudes);
    CRIA_TRY_ASSIGN(shard.buffer, upload_words(device, "weight shard", image.integers));
    CRIA_TRY_ASSIGN(shard.scales, upload_words(device, "weight scales", image.scales));
    return shard;
  }
  if (kernels::is_quantised(format.type)) {
    BlockImage image(format, Poison::kInput, table.rows, table.columns);
    image.quantise(table);
    CRIA_TRY_ASSIGN(shard.buffer, upload_words(device, "weight shard", image.values()));
    CRIA_TRY_ASSIGN(shard.scales, upload_words(device, "weight scales", image.scales()));
    return shard;
  }
  Image image(format.type, Poison::kInput, table.rows,
              kernels::padded_columns(static_cast<uint32_t>(table.columns), format));
  image.set_rows(table);
  CRIA_TRY_ASSIGN(shard.buffer, upload(device, "weight shard", image));
  return shard;
}

}  // namespace

Result<kernels::Matrix> upload_matrix(gpu::Device& device, Table& table, const kernels::WeightFormat& format,
                                      std::span<const uint32_t> shard_rows, Table* magnitudes) {
  kernels::Matrix matrix{.format = format,
                         .rows = static_cast<uint32_t>(table.rows),
                         .columns = static_cast<uint32_t>(table.columns),
                         .shards = {},
                         .bias = {}};
  uint32_t first = 0;
  for (const uint32_t rows : shard_rows) {
    Table part = rows_of(table, first, rows);
    Table own_magnitudes;
    CRIA_TRY_ASSIGN(kernels::Matrix::Shard shard, upload_shard(device, part, format, own_magnitudes));
    std::ranges::copy(part.values, table.values.begin() + static_cast<ptrdiff_t>(size_t{first} * table.columns));
    if (magnitudes != nullptr) {
      magnitudes->rows += own_magnitudes.rows;
      magnitudes->columns = own_magnitudes.columns;
      std::ranges::copy(own_magnitudes.values, std::back_inserter(magnitudes->values));
    }
    shard.first_row = first;
    matrix.shards.push_back(std::move(shard));
    first += rows;
  }
  CRIA_CHECK(first == matrix.rows);
  return matrix;
}

}  // namespace cria::selftest
