#include "model/row_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/parallel.h"
#include "quant/block_formats.h"
#include "quant/blocks.h"
#include "quant/float16.h"
#include "quant/float16_rows.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"
#include "quant/super_blocks.h"

namespace cria::model {
namespace {

using formats::DType;
using formats::TensorView;
using kernels::WeightFormat;
using kernels::WeightType;

/// Rows of this many elements together are worth a thread.
constexpr uint64_t kElementsPerThread = 1U << 18;

bool is_block_type(DType dtype) { return formats::dtype_block(dtype) > 1; }

/// The type that holds all values of the tensor's, or of blocks nearly all.
WeightType float_type_of(DType dtype, WeightType of_blocks) {
  if (is_block_type(dtype)) return of_blocks;
  return dtype == DType::kF16 ? WeightType::kF16 : dtype == DType::kBF16 ? WeightType::kBF16 : WeightType::kF32;
}

/// Decodes elements that begin at a block's first.
void decode_elements(const std::byte* from, DType dtype, std::span<float> out) {
  if (is_block_type(dtype)) {
    const quant::BlockFormat* format = quant::find_block_format(formats::dtype_name(dtype));
    CRIA_CHECK(format != nullptr && out.size() % format->elements == 0);
    format->decode(from, out.size() / format->elements, out.data());
    return;
  }
  switch (dtype) {
    case DType::kF16: return quant::f16_to_f32(from, out);
    case DType::kBF16: return quant::bf16_to_f32(from, out);
    default: std::memcpy(out.data(), from, out.size_bytes());
  }
}

/// Writes one element in the target type; false where a finite value becomes infinite.
bool store_element(std::byte* at, WeightType type, float value) {
  if (type == WeightType::kF32) {
    std::memcpy(at, &value, sizeof(value));
    return true;
  }
  const bool half = type == WeightType::kF16;
  const uint16_t bits = half ? quant::f32_to_f16(value) : quant::f32_to_bf16(value);
  std::memcpy(at, &bits, sizeof(bits));
  return !std::isfinite(value) || std::isfinite(half ? quant::f16_to_f32(bits) : quant::bf16_to_f32(bits));
}

/// The blocks of a file that a K-quant is made of.
DType k_quant_dtype(WeightType type) {
  return type == WeightType::kQ4_K ? DType::kQ4_K : type == WeightType::kQ5_K ? DType::kQ5_K : DType::kQ6_K;
}

template <typename Block>
void copy_super_block(const std::byte* from, std::byte* integers, std::byte* scales) {
  Block block;
  std::memcpy(&block, from, sizeof(block));
  const auto planes = quant::planes_of(block);
  std::memcpy(integers, planes.integers.data(), sizeof(planes.integers));
  std::memcpy(scales, planes.scales.data(), sizeof(planes.scales));
}

/// Copies one block of the file into the two planes.
void copy_block(const std::byte* from, DType dtype, WeightType to, std::byte* integers, std::byte* scale) {
  switch (to) {
    case WeightType::kQ4_K: return copy_super_block<quant::BlockQ4_K>(from, integers, scale);
    case WeightType::kQ5_K: return copy_super_block<quant::BlockQ5_K>(from, integers, scale);
    case WeightType::kQ6_K: return copy_super_block<quant::BlockQ6_K>(from, integers, scale);
    default: break;
  }
  std::memcpy(scale, from, sizeof(uint16_t));  // in both types it comes first
  const std::byte* source = from + sizeof(uint16_t);
  if (dtype == DType::kQ8_0) {
    std::memcpy(integers, source, sizeof(quant::BlockQ8_0::integers));
  } else if (to == WeightType::kInt4) {
    std::memcpy(integers, source, sizeof(quant::BlockQ4_0::halves));
  } else {
    quant::unpack_int4_unit(std::span<const uint8_t, 16>(reinterpret_cast<const uint8_t*>(source), 16),
                            std::span<int8_t, 32>(reinterpret_cast<int8_t*>(integers), 32));
  }
}

}  // namespace

std::vector<float> to_f32(const TensorView& tensor) {
  const uint64_t elements =
      tensor.data.size() / formats::dtype_bytes(tensor.dtype) * formats::dtype_block(tensor.dtype);
  std::vector<float> stored(elements);
  decode_elements(tensor.data.data(), tensor.dtype, stored);
  if (tensor.paired_rows == 0 || tensor.shape.size() != 1) return stored;
  std::vector<float> values(elements);
  for (uint64_t i = 0; i < elements; ++i) values[i] = stored[tensor.stored_row(i)];
  return values;
}

void decode_row(const TensorView& tensor, uint64_t row, std::span<float> out) {
  const uint64_t row_bytes = out.size() / formats::dtype_block(tensor.dtype) * formats::dtype_bytes(tensor.dtype);
  decode_elements(tensor.data.data() + tensor.stored_row(row) * row_bytes, tensor.dtype, out);
}

RowSource::RowSource(const MatrixSpec& spec, const formats::Checkpoint& checkpoint) : spec_(spec) {
  for (const MatrixSpec::Part& part : spec.parts) tensors_.push_back(checkpoint.find(part.name));
}

WeightFormat RowSource::natural_format() const {
  for (const WeightType type :
       {WeightType::kInt4, WeightType::kInt8, WeightType::kQ4_K, WeightType::kQ5_K, WeightType::kQ6_K}) {
    if (holds_blocks({type, quant::kUnitColumns})) return {type, quant::kUnitColumns};
  }
  const WeightType first = float_type_of(tensors_.front()->dtype, WeightType::kF16);
  const bool same = std::ranges::all_of(
      tensors_, [&](const TensorView* tensor) { return float_type_of(tensor->dtype, WeightType::kF16) == first; });
  return same ? first : WeightType::kF32;
}

WeightType RowSource::float_type() const {
  const WeightType first = float_type_of(tensors_.front()->dtype, WeightType::kF32);
  const bool same = std::ranges::all_of(
      tensors_, [&](const TensorView* tensor) { return float_type_of(tensor->dtype, WeightType::kF32) == first; });
  return same ? first : WeightType::kF32;
}

bool RowSource::holds_blocks(const WeightFormat& format) const {
  if (kernels::is_k_quant(format.type)) {
    return std::ranges::all_of(tensors_,
                               [&](const TensorView* tensor) { return tensor->dtype == k_quant_dtype(format.type); });
  }
  return format.block == quant::kUnitColumns && std::ranges::all_of(tensors_, [&](const TensorView* tensor) {
           return tensor->dtype == DType::kQ4_0 || (tensor->dtype == DType::kQ8_0 && format.type == WeightType::kInt8);
         });
}

Status RowSource::read(uint64_t first, uint64_t count, WeightType type, uint64_t row_bytes,
                       std::span<std::byte> out) const {
  CRIA_CHECK(out.size() == count * row_bytes);
  const uint64_t used = uint64_t{spec_.columns} * kernels::weight_type_bytes(type);
  std::mutex mutex;
  Status status;
  parallel_for(count, kElementsPerThread / spec_.columns + 1, [&](uint64_t begin, uint64_t end) {
    std::vector<float> decoded(spec_.columns);
    for (uint64_t r = begin; r < end; ++r) {
      const std::span<std::byte> target = out.subspan(r * row_bytes, row_bytes);
      Status row = convert_row(place(first + r), type, decoded, target.data());
      std::ranges::fill(target.subspan(used), std::byte{0});
      if (row) continue;
      const std::lock_guard lock(mutex);
      if (status) status = std::move(row);
      return;
    }
  });
  return status;
}

Status RowSource::convert_row(const Place& from, WeightType type, std::span<float> decoded, std::byte* to) const {
  const TensorView& tensor = *from.tensor;
  if (!is_block_type(tensor.dtype) && float_type_of(tensor.dtype, type) == type) {
    std::memcpy(to, source_row(from), source_row_bytes(tensor));
    return {};
  }
  decode_elements(source_row(from), tensor.dtype, decoded);
  for (uint32_t c = 0; c < spec_.columns; ++c) {
    if (!store_element(to + uint64_t{c} * kernels::weight_type_bytes(type), type, decoded[c])) {
      return fail(ErrorCode::kInvalidInput,
                  "tensor \"{}\" holds {} at row {}, column {}, which does not fit in {}: choose another precision",
                  tensor.name, decoded[c], from.row, c, kernels::weight_type_name(type));
    }
  }
  return {};
}

void RowSource::read_blocks(uint64_t first, uint64_t count, const WeightFormat& format, std::span<std::byte> integers,
                            std::span<std::byte> scales) const {
  const uint64_t padded = kernels::padded_columns(spec_.columns, format);
  const uint64_t block_bytes = uint64_t{format.block} * kernels::weight_type_bits(format.type) / 8;
  const uint64_t blocks = padded / format.block;
  const std::byte zero{static_cast<unsigned char>(format.type == WeightType::kInt4 ? 0x88 : 0)};
  const uint64_t scale_bytes = kernels::scale_bytes(format.type);
  const bool is_k_quant = kernels::is_k_quant(format.type);
  const uint64_t used = spec_.columns / format.block;
  CRIA_CHECK(integers.size() == count * blocks * block_bytes && scales.size() == count * blocks * scale_bytes);
  parallel_for(count, kElementsPerThread / spec_.columns + 1, [&](uint64_t begin, uint64_t end) {
    std::vector<float> decoded;
    std::vector<std::byte> encoded;
    for (uint64_t r = begin; r < end; ++r) {
      const Place from = place(first + r);
      const std::byte* source = source_row(from);
      DType dtype = from.tensor->dtype;
      if (is_k_quant && dtype != k_quant_dtype(format.type)) {
        decoded.resize(spec_.columns);
        decode_elements(source, dtype, decoded);
        dtype = k_quant_dtype(format.type);
        encoded.resize(uint64_t{spec_.columns} / format.block * formats::dtype_bytes(dtype));
        quant::find_block_format(formats::dtype_name(dtype))->encode(decoded, encoded.data());
        source = encoded.data();
      }
      for (uint64_t b = 0; b < used; ++b) {
        copy_block(source + b * formats::dtype_bytes(dtype), dtype, format.type,
                   integers.data() + (r * blocks + b) * block_bytes, scales.data() + (r * blocks + b) * scale_bytes);
      }
      std::ranges::fill(integers.subspan((r * blocks + used) * block_bytes, (blocks - used) * block_bytes), zero);
      std::ranges::fill(scales.subspan((r * blocks + used) * scale_bytes, (blocks - used) * scale_bytes), std::byte{0});
    }
  });
}

uint64_t RowSource::release(uint64_t first, uint64_t count) const {
  uint64_t bytes = 0;
  for (uint64_t r = first; r < first + count;) {
    const Place from = place(r);
    const uint64_t run = spec_.alternating ? 1 : std::min(first + count - r, from.rows_left);
    bytes += run * source_row_bytes(*from.tensor);
    r += run;
  }
  for (const TensorView* tensor : tensors_) {  // an alternating matrix uses the same rows of each
    const uint64_t begin = spec_.alternating ? first / tensors_.size() : place(first).row;
    const uint64_t rows = spec_.alternating ? divide_up<uint64_t>(count, tensors_.size()) : count;
    if (spec_.alternating || tensor == place(first).tensor) {
      const uint64_t offset = begin * source_row_bytes(*tensor);
      if (tensor->file == nullptr) continue;
      tensor->file->release(tensor->file_offset + offset,
                            std::min(rows * source_row_bytes(*tensor), tensor->data.size() - offset));
    }
  }
  return bytes;
}

RowSource::Place RowSource::place(uint64_t row) const {
  row -= spec_.first_row;
  if (spec_.alternating) return {tensors_[row % tensors_.size()], row / tensors_.size(), 1};
  size_t part = 0;
  while (row >= spec_.parts[part].rows) row -= spec_.parts[part++].rows;
  return {tensors_[part], row, spec_.parts[part].rows - row};
}

uint64_t RowSource::source_row_bytes(const TensorView& tensor) const {
  return uint64_t{spec_.columns} / formats::dtype_block(tensor.dtype) * formats::dtype_bytes(tensor.dtype);
}

const std::byte* RowSource::source_row(const Place& from) const {
  return from.tensor->data.data() + from.tensor->stored_row(from.row) * source_row_bytes(*from.tensor);
}

}  // namespace cria::model
