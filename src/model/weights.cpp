#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/quantize.h"
#include "quant/float16.h"

namespace cria::model {
namespace {

using formats::DType;
using formats::TensorView;
using kernels::Matrix;
using kernels::WeightFormat;
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

/// A matrix's rows as they stand in the checkpoint: which tensor each comes from, converted where need be.
class RowSource {
 public:
  RowSource(const MatrixSpec& spec, const formats::HuggingFaceFolder& folder) : spec_(spec) {
    for (const MatrixSpec::Part& part : spec.parts) tensors_.push_back(folder.find(part.name));
  }

  /// The type of all parts; f32 where they differ.
  [[nodiscard]] WeightType type() const {
    const DType first = tensors_.front()->dtype;
    const bool same = std::ranges::all_of(tensors_, [&](const TensorView* tensor) { return tensor->dtype == first; });
    return same ? weight_type(first) : WeightType::kF32;
  }

  /// The rows as they lie in the file, where they need no change to become `type` with rows of `row_bytes`.
  [[nodiscard]] std::span<const std::byte> as_stored(uint64_t first, uint64_t count, WeightType type,
                                                     uint64_t row_bytes) const {
    const Place begin = place(first);
    const Place end = place(first + count - 1);
    if (begin.tensor != end.tensor || end.row - begin.row != count - 1 || weight_type(begin.tensor->dtype) != type ||
        source_row_bytes(*begin.tensor) != row_bytes) {
      return {};
    }
    return begin.tensor->data.subspan(begin.row * row_bytes, count * row_bytes);
  }

  /// Rows first … first + count - 1 in a float type, each padded with zeros to `row_bytes`.
  /// Errors: kInvalidInput for a value that does not fit the type.
  Status read(uint64_t first, uint64_t count, WeightType type, uint64_t row_bytes, std::vector<std::byte>& out) const {
    out.assign(count * row_bytes, std::byte{0});
    for (uint64_t r = 0; r < count; ++r) CRIA_TRY(convert_row(place(first + r), type, out.data() + r * row_bytes));
    return {};
  }

  /// Lets the system take back the memory of rows that have been used; returns their bytes.
  uint64_t release(uint64_t first, uint64_t count) const {
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
        tensor->file->release(tensor->file_offset + offset,
                              std::min(rows * source_row_bytes(*tensor), tensor->data.size() - offset));
      }
    }
    return bytes;
  }

 private:
  struct Place {
    const TensorView* tensor = nullptr;
    uint64_t row = 0;
    uint64_t rows_left = 0;  // in the tensor, this one included
  };

  [[nodiscard]] Place place(uint64_t row) const {
    if (spec_.alternating) return {tensors_[row % tensors_.size()], row / tensors_.size(), 1};
    size_t part = 0;
    while (row >= spec_.parts[part].rows) row -= spec_.parts[part++].rows;
    return {tensors_[part], row, spec_.parts[part].rows - row};
  }

  [[nodiscard]] uint64_t source_row_bytes(const TensorView& tensor) const {
    return spec_.columns * formats::dtype_bytes(tensor.dtype);
  }

  Status convert_row(const Place& from, WeightType type, std::byte* to) const {
    const TensorView& tensor = *from.tensor;
    const uint64_t source_bytes = formats::dtype_bytes(tensor.dtype);
    const std::byte* source = tensor.data.data() + from.row * source_row_bytes(tensor);
    if (weight_type(tensor.dtype) == type) {
      std::memcpy(to, source, source_row_bytes(tensor));
      return {};
    }
    for (uint32_t c = 0; c < spec_.columns; ++c) {
      const float value = load_element(source + c * source_bytes, tensor.dtype);
      if (!store_element(to + uint64_t{c} * kernels::weight_type_bytes(type), type, value)) {
        return fail(ErrorCode::kInvalidInput,
                    "tensor \"{}\" holds {} at row {}, column {}, which does not fit in {}: choose another precision",
                    tensor.name, value, from.row, c, kernels::weight_type_name(type));
      }
    }
    return {};
  }

  const MatrixSpec& spec_;
  std::vector<const TensorView*> tensors_;
};

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
  Loader(gpu::Device& device, const formats::HuggingFaceFolder& folder, const WeightChoice& choice,
         const std::function<void(uint64_t)>& on_progress)
      : device_(device), folder_(folder), choice_(choice), on_progress_(on_progress) {}

  Result<Matrix> matrix(const MatrixSpec& spec) {
    const RowSource source(spec, folder_);
    CRIA_TRY_ASSIGN(Matrix matrix, create_matrix(device_, spec, placed_format(spec, folder_, choice_)));
    for (const Matrix::Shard& shard : matrix.shards) CRIA_TRY(fill(matrix, shard, source));
    if (spec.has_bias()) {
      CRIA_TRY_ASSIGN(matrix.bias, upload_floats(device_, spec.label + ".bias", bias(spec)));
    }
    return matrix;
  }

  Result<gpu::Buffer> vector(const VectorSpec& spec) {
    return upload_floats(device_, spec.name, to_f32(*folder_.find(spec.name)));
  }

 private:
  /// Uploads a shard's rows in pieces: as they are, or through the quantiser.
  Status fill(const Matrix& matrix, const Matrix::Shard& shard, const RowSource& source) {
    const bool quantise = kernels::is_quantised(matrix.format.type);
    const WeightType type = quantise ? source.type() : matrix.format.type;
    const uint64_t row_bytes = uint64_t{kernels::padded_columns(matrix.columns)} * kernels::weight_type_bytes(type);
    const uint64_t rows_per_piece = std::max<uint64_t>(1, piece_bytes() / row_bytes);
    for (uint64_t row = 0; row < shard.rows; row += rows_per_piece) {
      const uint64_t count = std::min<uint64_t>(rows_per_piece, shard.rows - row);
      std::span<const std::byte> piece = source.as_stored(shard.first_row + row, count, type, row_bytes);
      if (piece.empty()) {
        CRIA_TRY(source.read(shard.first_row + row, count, type, row_bytes, converted_));
        piece = converted_;
      }
      if (quantise) {
        CRIA_TRY(quantize(matrix, shard, type, piece, static_cast<uint32_t>(row), static_cast<uint32_t>(count)));
      } else {
        CRIA_TRY(device_.write(shard.buffer, row * row_bytes, piece));
      }
      on_progress_(source.release(shard.first_row + row, count));
    }
    return {};
  }

  [[nodiscard]] uint64_t piece_bytes() const { return std::min(kPieceBytes, device_.limits().max_binding_bytes); }

  Status quantize(const Matrix& matrix, const Matrix::Shard& shard, WeightType from, std::span<const std::byte> rows,
                  uint32_t first_row, uint32_t count) {
    if (staging_.size_bytes() < rows.size()) {
      CRIA_TRY_ASSIGN(staging_,
                      device_.create_buffer("rows to quantise", std::max<uint64_t>(rows.size(), piece_bytes()),
                                            gpu::MemoryKind::kStaging));
    }
    CRIA_TRY(device_.write(staging_, 0, rows));
    CRIA_TRY_ASSIGN(const kernels::Quantize op, kernels::Quantize::create(device_, from, matrix.format));
    gpu::Recorder recorder = device_.record("quantise");
    op.record(recorder, staging_, count, matrix.columns, shard, first_row);
    return recorder.submit();
  }

  [[nodiscard]] std::vector<float> bias(const MatrixSpec& spec) const {
    std::vector<std::vector<float>> parts;
    for (const MatrixSpec::Part& part : spec.parts) {
      parts.push_back(part.bias.empty() ? std::vector<float>(part.rows) : to_f32(*folder_.find(part.bias)));
    }
    std::vector<float> values;
    if (!spec.alternating) {
      for (const std::vector<float>& part : parts) std::ranges::copy(part, std::back_inserter(values));
      return values;
    }
    for (uint32_t row = 0; row < spec.rows(); ++row) values.push_back(parts[row % parts.size()][row / parts.size()]);
    return values;
  }

  gpu::Device& device_;
  const formats::HuggingFaceFolder& folder_;
  WeightChoice choice_;
  const std::function<void(uint64_t)>& on_progress_;
  std::vector<std::byte> converted_;
  gpu::Buffer staging_;
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
constexpr PrecisionName kPrecisionNames[] = {{"auto", Precision::kAsStored}, {"f32", Precision::kF32},
                                             {"f16", Precision::kF16},       {"bf16", Precision::kBF16},
                                             {"int8", Precision::kInt8},     {"int4", Precision::kInt4}};

}  // namespace

Result<Precision> parse_precision(std::string_view text) {
  for (const PrecisionName& known : kPrecisionNames) {
    if (known.name == text) return known.precision;
  }
  return fail(ErrorCode::kInvalidInput,
              "there is no weight type \"{}\": the types are auto, f32, f16, bf16, int8 and int4", text);
}

std::string_view precision_name(Precision precision) {
  for (const PrecisionName& known : kPrecisionNames) {
    if (known.precision == precision) return known.name;
  }
  return "?";
}

std::optional<WeightFormat> chosen_format(const MatrixSpec& spec, const WeightChoice& choice) {
  switch (choice.precision) {
    case Precision::kF32: return WeightType::kF32;
    case Precision::kF16: return WeightType::kF16;
    case Precision::kBF16: return WeightType::kBF16;
    case Precision::kInt8: return WeightFormat(WeightType::kInt8, choice.block);
    case Precision::kInt4:
      return WeightFormat(spec.keeps_precision ? WeightType::kInt8 : WeightType::kInt4, choice.block);
    case Precision::kAsStored: break;
  }
  return {};
}

WeightFormat placed_format(const MatrixSpec& spec, const formats::HuggingFaceFolder& folder,
                           const WeightChoice& choice) {
  return chosen_format(spec, choice).value_or(RowSource(spec, folder).type());
}

FormatChoice formats_from(const formats::HuggingFaceFolder& folder, const WeightChoice& choice) {
  return [&folder, choice](const MatrixSpec& spec) { return placed_format(spec, folder, choice); };
}

Result<Matrix> create_matrix(gpu::Device& device, const MatrixSpec& spec, const WeightFormat& format) {
  Matrix matrix{.format = format, .rows = spec.rows(), .columns = spec.columns, .shards = {}, .bias = {}};
  const uint64_t limit = std::min(device.limits().max_binding_bytes, device.limits().max_buffer_bytes);
  const auto step = static_cast<uint32_t>(spec.alternating ? spec.parts.size() : 1);
  const auto rows_per_shard =
      static_cast<uint32_t>(std::min<uint64_t>(limit / matrix.row_bytes() / step * step, matrix.rows));
  if (rows_per_shard == 0) {
    return fail(ErrorCode::kOutOfMemory, "{}: {} takes {} bytes, more than the {} that {} can bind", spec.label,
                step == 1 ? "one row" : fmt::format("a group of {} rows", step), with_commas(step * matrix.row_bytes()),
                with_commas(limit), device.info().name);
  }
  for (uint32_t row = 0; row < matrix.rows; row += rows_per_shard) {
    Matrix::Shard shard{
        .buffer = {}, .scales = {}, .first_row = row, .rows = std::min(rows_per_shard, matrix.rows - row)};
    CRIA_TRY_ASSIGN(shard.buffer,
                    device.create_buffer(spec.label, shard.rows * matrix.row_bytes(), gpu::MemoryKind::kWeights));
    if (format.block != 0) {
      CRIA_TRY_ASSIGN(shard.scales, device.create_buffer(spec.label + " scales", shard.rows * matrix.scale_row_bytes(),
                                                         gpu::MemoryKind::kWeights));
    }
    matrix.shards.push_back(std::move(shard));
  }
  return matrix;
}

uint64_t placed_bytes(const MatrixSpec& spec, const WeightFormat& format) {
  const Matrix matrix{.format = format, .rows = spec.rows(), .columns = spec.columns, .shards = {}, .bias = {}};
  return matrix.rows * (matrix.row_bytes() + matrix.scale_row_bytes()) +
         (spec.has_bias() ? uint64_t{matrix.rows} * 4 : 0);
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
                             const WeightChoice& choice, const std::function<void(uint64_t)>& on_progress) {
  Loader loader(device, folder, choice, on_progress);
  CRIA_TRY_ASSIGN(Weights weights, assemble_weights(
                                       table, [&](const MatrixSpec& spec) { return loader.matrix(spec); },
                                       [&](const VectorSpec& spec) { return loader.vector(spec); }));
  CRIA_TRY(device.wait_idle());
  return weights;
}

}  // namespace cria::model
