#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/float16.h"

namespace cria::model {
namespace {

using formats::DType;
using formats::TensorView;
using kernels::Matrix;
using kernels::WeightType;

/// Rows are converted and uploaded in pieces of at most this size.
constexpr uint64_t kPieceBytes = 8ULL << 20;

WeightType weight_type(DType dtype) {
  return dtype == DType::kF16 ? WeightType::kF16 : dtype == DType::kBF16 ? WeightType::kBF16 : WeightType::kF32;
}

float load_element(const std::byte* at, DType dtype) {
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return dtype == DType::kF16 ? quant::f16_to_f32(bits) : quant::bf16_to_f32(bits);
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

/// Converts rows of a tensor into padded rows of the target type (padding zero).
Status convert_rows(const TensorView& tensor, uint32_t columns, uint64_t first_row, uint64_t rows, WeightType type,
                    std::vector<std::byte>& out) {
  const uint64_t source_bytes = formats::dtype_bytes(tensor.dtype);
  const uint64_t target_bytes = kernels::weight_type_bytes(type);
  const uint64_t row_bytes = kernels::padded_columns(columns) * target_bytes;
  out.assign(rows * row_bytes, std::byte{0});
  for (uint64_t r = 0; r < rows; ++r) {
    const std::byte* from = tensor.data.data() + (first_row + r) * columns * source_bytes;
    std::byte* to = out.data() + r * row_bytes;
    if (weight_type(tensor.dtype) == type) {
      std::memcpy(to, from, columns * source_bytes);
      continue;
    }
    for (uint32_t c = 0; c < columns; ++c) {
      const float value = load_element(from + c * source_bytes, tensor.dtype);
      if (!store_element(to + c * target_bytes, type, value)) {
        return fail(ErrorCode::kInvalidInput,
                    "tensor \"{}\" holds {} at row {}, column {}, which does not fit in {}: choose another precision",
                    tensor.name, value, first_row + r, c, kernels::weight_type_name(type));
      }
    }
  }
  return {};
}

/// Uploads the rows of one tensor to where they stand in the matrix, from `matrix_row` on.
Status upload_rows(gpu::Device& device, const Matrix& matrix, const TensorView& tensor, uint32_t matrix_row,
                   uint32_t rows, const std::function<void(uint64_t)>& on_progress) {
  const uint64_t row_bytes = matrix.row_bytes();
  const uint64_t source_row_bytes = matrix.columns * formats::dtype_bytes(tensor.dtype);
  const uint64_t rows_per_piece = std::max<uint64_t>(1, kPieceBytes / row_bytes);
  const bool as_is = weight_type(tensor.dtype) == matrix.type && source_row_bytes == row_bytes;
  std::vector<std::byte> converted;
  for (const Matrix::Shard& shard : matrix.shards) {
    const uint32_t begin = std::max(shard.first_row, matrix_row);
    const uint32_t end = std::min(shard.first_row + shard.rows, matrix_row + rows);
    for (uint64_t row = begin; row < end; row += rows_per_piece) {
      const uint64_t count = std::min<uint64_t>(rows_per_piece, end - row);
      const uint64_t tensor_row = row - matrix_row;
      const uint64_t target = (row - shard.first_row) * row_bytes;
      if (as_is) {
        CRIA_TRY(device.write(shard.buffer, target, tensor.data.subspan(tensor_row * row_bytes, count * row_bytes)));
      } else {
        CRIA_TRY(convert_rows(tensor, matrix.columns, tensor_row, count, matrix.type, converted));
        CRIA_TRY(device.write(shard.buffer, target, converted));
      }
      tensor.file->release(tensor.file_offset + tensor_row * source_row_bytes, count * source_row_bytes);
      on_progress(count * source_row_bytes);
    }
  }
  return {};
}

std::vector<float> to_f32(const TensorView& tensor) {
  const uint64_t element = formats::dtype_bytes(tensor.dtype);
  std::vector<float> values(tensor.data.size() / element);
  for (size_t i = 0; i < values.size(); ++i) values[i] = load_element(tensor.data.data() + i * element, tensor.dtype);
  return values;
}

Result<gpu::Buffer> upload_floats(gpu::Device& device, std::string_view label, const std::vector<float>& values) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, device.create_buffer(label, values.size() * 4, gpu::MemoryKind::kWeights));
  CRIA_TRY(device.write(buffer, 0, std::as_bytes(std::span(values))));
  return buffer;
}

class Loader {
 public:
  Loader(gpu::Device& device, const formats::HuggingFaceFolder& folder, Precision precision,
         const std::function<void(uint64_t)>& on_progress)
      : device_(device), folder_(folder), precision_(precision), on_progress_(on_progress) {}

  Result<Matrix> matrix(const MatrixSpec& spec) {
    CRIA_TRY_ASSIGN(Matrix matrix, create_matrix(device_, spec, placed_type(spec, folder_, precision_)));
    std::vector<float> bias;
    uint32_t row = 0;
    for (const MatrixSpec::Part& part : spec.parts) {
      CRIA_TRY(upload_rows(device_, matrix, *folder_.find(part.name), row, part.rows, on_progress_));
      row += part.rows;
      if (!spec.has_bias()) continue;
      if (!part.bias.empty()) std::ranges::copy(to_f32(*folder_.find(part.bias)), std::back_inserter(bias));
      bias.resize(row);
    }
    if (spec.has_bias()) {
      CRIA_TRY_ASSIGN(matrix.bias, upload_floats(device_, spec.label + ".bias", bias));
    }
    return matrix;
  }

  Result<gpu::Buffer> vector(const VectorSpec& spec) {
    return upload_floats(device_, spec.name, to_f32(*folder_.find(spec.name)));
  }

 private:
  gpu::Device& device_;
  const formats::HuggingFaceFolder& folder_;
  Precision precision_;
  const std::function<void(uint64_t)>& on_progress_;
};

Result<LayerWeights> assemble_layer(const LayerSpec& spec, const MatrixSource& matrix, const VectorSource& vector) {
  LayerWeights layer;
  CRIA_TRY_ASSIGN(layer.input_norm, vector(spec.input_norm));
  CRIA_TRY_ASSIGN(layer.qkv, matrix(spec.qkv));
  if (spec.q_norm) {
    CRIA_TRY_ASSIGN(layer.q_norm, vector(*spec.q_norm));
    CRIA_TRY_ASSIGN(layer.k_norm, vector(*spec.k_norm));
  }
  CRIA_TRY_ASSIGN(layer.o, matrix(spec.o));
  CRIA_TRY_ASSIGN(layer.mlp_norm, vector(spec.mlp_norm));
  CRIA_TRY_ASSIGN(layer.gate_up, matrix(spec.gate_up));
  CRIA_TRY_ASSIGN(layer.down, matrix(spec.down));
  return layer;
}

struct PrecisionName {
  std::string_view name;
  Precision precision;
};
constexpr PrecisionName kPrecisionNames[] = {
    {"auto", Precision::kAsStored}, {"f32", Precision::kF32}, {"f16", Precision::kF16}, {"bf16", Precision::kBF16}};

}  // namespace

Result<Precision> parse_precision(std::string_view text) {
  for (const PrecisionName& known : kPrecisionNames) {
    if (known.name == text) return known.precision;
  }
  return fail(ErrorCode::kInvalidInput, "there is no weight type \"{}\": the types are auto, f32, f16 and bf16", text);
}

std::string_view precision_name(Precision precision) {
  for (const PrecisionName& known : kPrecisionNames) {
    if (known.precision == precision) return known.name;
  }
  return "?";
}

WeightType placed_type(const MatrixSpec& spec, const formats::HuggingFaceFolder& folder, Precision precision) {
  switch (precision) {
    case Precision::kF32: return WeightType::kF32;
    case Precision::kF16: return WeightType::kF16;
    case Precision::kBF16: return WeightType::kBF16;
    case Precision::kAsStored: break;
  }
  const DType first = folder.find(spec.parts.front().name)->dtype;
  const bool same = std::all_of(spec.parts.begin(), spec.parts.end(),
                                [&](const MatrixSpec::Part& part) { return folder.find(part.name)->dtype == first; });
  return same ? weight_type(first) : WeightType::kF32;
}

TypeChoice types_from(const formats::HuggingFaceFolder& folder, Precision precision) {
  return [&folder, precision](const MatrixSpec& spec) { return placed_type(spec, folder, precision); };
}

Result<Matrix> create_matrix(gpu::Device& device, const MatrixSpec& spec, WeightType type) {
  Matrix matrix{.type = type, .rows = spec.rows(), .columns = spec.columns, .shards = {}, .bias = {}};
  const uint64_t limit = std::min(device.limits().max_binding_bytes, device.limits().max_buffer_bytes);
  const auto rows_per_shard = static_cast<uint32_t>(std::min<uint64_t>(limit / matrix.row_bytes(), matrix.rows));
  if (rows_per_shard == 0) {
    return fail(ErrorCode::kOutOfMemory, "{}: one row takes {} bytes, more than the {} that {} can bind", spec.label,
                with_commas(matrix.row_bytes()), with_commas(limit), device.info().name);
  }
  for (uint32_t row = 0; row < matrix.rows; row += rows_per_shard) {
    const uint32_t rows = std::min(rows_per_shard, matrix.rows - row);
    CRIA_TRY_ASSIGN(gpu::Buffer buffer,
                    device.create_buffer(spec.label, rows * matrix.row_bytes(), gpu::MemoryKind::kWeights));
    matrix.shards.push_back({.buffer = std::move(buffer), .first_row = row, .rows = rows});
  }
  return matrix;
}

uint64_t placed_bytes(const MatrixSpec& spec, WeightType type) {
  const Matrix matrix{.type = type, .rows = spec.rows(), .columns = spec.columns, .shards = {}, .bias = {}};
  return matrix.rows * matrix.row_bytes() + (spec.has_bias() ? uint64_t{matrix.rows} * 4 : 0);
}

Result<Weights> assemble_weights(const WeightTable& table, const MatrixSource& matrix, const VectorSource& vector) {
  Weights weights;
  CRIA_TRY_ASSIGN(weights.embedding, matrix(table.embedding));
  for (const LayerSpec& spec : table.layers) {
    CRIA_TRY_ASSIGN(LayerWeights layer, assemble_layer(spec, matrix, vector));
    weights.layers.push_back(std::move(layer));
  }
  CRIA_TRY_ASSIGN(weights.final_norm, vector(table.final_norm));
  if (table.lm_head) {
    CRIA_TRY_ASSIGN(weights.lm_head, matrix(*table.lm_head));
  }
  return weights;
}

Result<Weights> load_weights(gpu::Device& device, const WeightTable& table, const formats::HuggingFaceFolder& folder,
                             Precision precision, const std::function<void(uint64_t)>& on_progress) {
  Loader loader(device, folder, precision, on_progress);
  CRIA_TRY_ASSIGN(Weights weights, assemble_weights(
                                       table, [&](const MatrixSpec& spec) { return loader.matrix(spec); },
                                       [&](const VectorSpec& spec) { return loader.vector(spec); }));
  CRIA_TRY(device.wait_idle());
  return weights;
}

}  // namespace cria::model
