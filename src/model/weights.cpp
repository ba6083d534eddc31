#include "model/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "kernels/quantize.h"
#include "model/row_source.h"
#include "model/upload_ring.h"
#include "quant/blocks.h"

namespace cria::model {
namespace {

using kernels::Matrix;
using kernels::WeightFormat;
using kernels::WeightType;

/// Rows are converted and uploaded in pieces of at most this size.
constexpr uint64_t kPieceBytes = 8ULL << 20;

Result<gpu::Buffer> upload_floats(gpu::Device& device, std::string_view label, const std::vector<float>& values) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, device.create_buffer(label, values.size() * 4, gpu::MemoryKind::kWeights));
  CRIA_TRY(device.write(buffer, 0, std::as_bytes(std::span(values))));
  return buffer;
}

class Loader {
 public:
  Loader(gpu::Device& device, const formats::Checkpoint& checkpoint, const WeightChoice& choice,
         const std::function<void(uint64_t)>& on_progress)
      : device_(device), checkpoint_(checkpoint), choice_(choice), on_progress_(on_progress), ring_(device) {}

  Result<Matrix> matrix(const MatrixSpec& spec) {
    const RowSource source(spec, checkpoint_);
    const WeightFormat format = placed_format(spec, checkpoint_, choice_);
    auto filled = create_and_fill(spec, format, source);
    const bool may_change = choice_.precision == Precision::kAsStored && format == WeightType::kF16;
    if (!filled && may_change && filled.error().code() == ErrorCode::kInvalidInput) {  // blocks that f16 cannot hold
      log::warning("{} is stored as f32: {}", spec.label, filled.error().sentence());
      filled = create_and_fill(spec, WeightType::kF32, source);
    }
    if (filled && spec.has_bias()) {
      CRIA_TRY_ASSIGN(filled->bias, upload_floats(device_, spec.label + ".bias", bias(spec)));
    }
    return filled;
  }

  Result<gpu::Buffer> vector(const VectorSpec& spec) {
    return upload_floats(device_, spec.name, to_f32(*checkpoint_.find(spec.name)));
  }

 private:
  Result<Matrix> create_and_fill(const MatrixSpec& spec, const WeightFormat& format, const RowSource& source) {
    CRIA_TRY_ASSIGN(Matrix matrix, create_matrix(device_, spec, format));
    for (const Matrix::Shard& shard : matrix.shards) CRIA_TRY(fill(matrix, shard, source));
    return matrix;
  }

  /// Uploads a shard's rows in pieces: as they are, as the blocks of the checkpoint, or through the quantiser.
  Status fill(const Matrix& matrix, const Matrix::Shard& shard, const RowSource& source) {
    const bool quantise = kernels::is_quantised(matrix.format.type);
    const bool on_cpu = source.holds_blocks(matrix.format) || kernels::is_k_quant(matrix.format.type);
    if (quantise && on_cpu) return upload_blocks(matrix, shard, source);
    const WeightType type = quantise ? source.float_type() : matrix.format.type;
    const uint64_t row_bytes = uint64_t{kernels::padded_columns(matrix.columns)} * kernels::weight_type_bytes(type);
    const uint64_t rows_per_piece = std::max<uint64_t>(1, piece_bytes() / row_bytes);
    for (uint64_t row = 0; row < shard.rows; row += rows_per_piece) {
      const uint64_t count = std::min<uint64_t>(rows_per_piece, shard.rows - row);
      const uint64_t bytes = count * row_bytes;
      CRIA_TRY_ASSIGN(const std::span<std::byte> piece, ring_.next(bytes));
      CRIA_TRY(source.read(shard.first_row + row, count, type, row_bytes, piece));
      if (quantise) {
        CRIA_TRY(quantize(matrix, shard, type, bytes, static_cast<uint32_t>(row), static_cast<uint32_t>(count)));
      } else {
        CRIA_TRY(ring_.send({{0, bytes, shard.buffer, row * row_bytes}}));
      }
      on_progress_(source.release(shard.first_row + row, count));
    }
    return {};
  }

  /// Uploads a shard's rows as the blocks that they are in the checkpoint, or that the CPU makes of them.
  Status upload_blocks(const Matrix& matrix, const Matrix::Shard& shard, const RowSource& source) {
    const uint64_t rows_per_piece = std::max<uint64_t>(1, piece_bytes() / matrix.row_bytes());
    for (uint64_t row = 0; row < shard.rows; row += rows_per_piece) {
      const uint64_t count = std::min<uint64_t>(rows_per_piece, shard.rows - row);
      const uint64_t bytes = count * matrix.row_bytes();
      const uint64_t scale_bytes = count * matrix.scale_row_bytes();
      CRIA_TRY_ASSIGN(const std::span<std::byte> piece, ring_.next(bytes + scale_bytes));
      source.read_blocks(shard.first_row + row, count, matrix.format, piece.first(bytes), piece.subspan(bytes));
      CRIA_TRY(ring_.send({{0, bytes, shard.buffer, row * matrix.row_bytes()},
                           {bytes, scale_bytes, shard.scales, row * matrix.scale_row_bytes()}}));
      on_progress_(source.release(shard.first_row + row, count));
    }
    return {};
  }

  [[nodiscard]] uint64_t piece_bytes() const {
    return std::min({kPieceBytes, device_.limits().max_binding_bytes, device_.limits().max_upload_bytes / 2});
  }

  /// Sends the rows in the ring's slot through the quantiser.
  Status quantize(const Matrix& matrix, const Matrix::Shard& shard, WeightType from, uint64_t bytes, uint32_t first_row,
                  uint32_t count) {
    if (staging_.size_bytes() < bytes) {
      CRIA_TRY_ASSIGN(staging_, device_.create_buffer("rows to quantise", std::max(bytes, piece_bytes()),
                                                      gpu::MemoryKind::kStaging));
    }
    CRIA_TRY(ring_.send({{0, bytes, staging_, 0}}));
    CRIA_TRY_ASSIGN(const kernels::Quantize op, kernels::Quantize::create(device_, from, matrix.format));
    gpu::Recorder recorder = device_.record("quantise");
    op.record(recorder, staging_, count, matrix.columns, shard, first_row);
    return recorder.submit();
  }

  /// The biases of a run's rows, and 0 for those of the stack before them.
  [[nodiscard]] std::vector<float> bias(const MatrixSpec& spec) const {
    std::vector<std::vector<float>> parts;
    parts.reserve(spec.parts.size());
    for (const MatrixSpec::Part& part : spec.parts) {
      parts.push_back(part.bias.empty() ? std::vector<float>(part.rows) : to_f32(*checkpoint_.find(part.bias)));
    }
    std::vector<float> values(spec.first_row);  // kernels count rows from the first of the stack
    if (!spec.alternating) {
      for (const std::vector<float>& part : parts) std::ranges::copy(part, std::back_inserter(values));
      return values;
    }
    values.reserve(spec.rows());
    for (uint32_t row = 0; row < spec.rows(); ++row) values.push_back(parts[row % parts.size()][row / parts.size()]);
    return values;
  }

  gpu::Device& device_;
  const formats::Checkpoint& checkpoint_;
  WeightChoice choice_;
  const std::function<void(uint64_t)>& on_progress_;
  UploadRing ring_;
  gpu::Buffer staging_;
};

Result<LayerWeights> assemble_layer(const LayerSpec& spec, const FormatChoice& formats, const MatrixSource& matrix,
                                    const VectorSource& vector) {
  LayerWeights layer;
  CRIA_TRY_ASSIGN(layer.input_norm, vector(spec.input_norm));
  for (const MatrixSpec& run : placed_runs(spec.qkv, formats)) {
    CRIA_TRY_ASSIGN(Matrix made, matrix(run));
    layer.qkv.push_back(std::move(made));
  }
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

/// Says in one line which block types become floats, where nobody asked for that.
void note_conversions(const WeightTable& table, const formats::Checkpoint& checkpoint, const WeightChoice& choice) {
  if (choice.precision != Precision::kAsStored) return;
  std::set<std::string_view> types;
  std::set<std::string_view> targets;
  const auto note = [&](const MatrixSpec& spec) {
    const WeightFormat format = placed_format(spec, checkpoint, choice);
    if (kernels::is_quantised(format.type)) return;
    for (const MatrixSpec::Part& part : spec.parts) {
      const formats::DType dtype = checkpoint.find(part.name)->dtype;
      if (formats::dtype_block(dtype) == 1) continue;
      types.insert(formats::dtype_name(dtype));
      targets.insert(kernels::weight_type_name(format.type));
    }
  };
  for (const MatrixSpec* spec : all_matrices(table)) {
    for (const MatrixSpec& run : placed_runs(*spec, formats_from(checkpoint, choice))) note(run);
  }
  if (types.empty()) return;
  log::info("matrices of {} are stored as {} on the GPU; --weights int8 or int4 takes less memory",
            fmt::join(types, ", "), fmt::join(targets, " and "));
}

struct PrecisionName {
  std::string_view name;
  Precision precision;
};
constexpr PrecisionName kPrecisionNames[] = {
    {"auto", Precision::kAsStored}, {"f32", Precision::kF32},   {"f16", Precision::kF16},
    {"bf16", Precision::kBF16},     {"int8", Precision::kInt8}, {"int4", Precision::kInt4},
    {"q4_k", Precision::kQ4_K},     {"q5_k", Precision::kQ5_K}, {"q6_k", Precision::kQ6_K}};

/// A K-quant where rows are whole super-blocks.
WeightFormat k_quant(const MatrixSpec& spec, WeightType type) {
  if (spec.columns % kernels::kSuperBlock != 0) return {WeightType::kInt8, quant::kUnitColumns};
  return spec.keeps_precision ? WeightType::kQ6_K : type;
}

}  // namespace

Result<Precision> parse_precision(std::string_view text) {
  for (const PrecisionName& known : kPrecisionNames) {
    if (known.name == text) return known.precision;
  }
  return fail(ErrorCode::kInvalidInput,
              "there is no weight type \"{}\": the types are auto, f32, f16, bf16, int8, int4, q4_k, q5_k and q6_k",
              text);
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
      if (spec.keeps_precision && spec.columns % kernels::kSuperBlock == 0) return WeightType::kQ6_K;
      return WeightFormat(spec.keeps_precision ? WeightType::kInt8 : WeightType::kInt4, choice.block);
    case Precision::kQ4_K: return k_quant(spec, WeightType::kQ4_K);
    case Precision::kQ5_K: return k_quant(spec, WeightType::kQ5_K);
    case Precision::kQ6_K: return k_quant(spec, WeightType::kQ6_K);
    case Precision::kAsStored: break;
  }
  return {};
}

WeightFormat placed_format(const MatrixSpec& spec, const formats::Checkpoint& checkpoint, const WeightChoice& choice) {
  return chosen_format(spec, choice).value_or(RowSource(spec, checkpoint).natural_format());
}

FormatChoice formats_from(const formats::Checkpoint& checkpoint, const WeightChoice& choice) {
  return [&checkpoint, choice](const MatrixSpec& spec) { return placed_format(spec, checkpoint, choice); };
}

std::vector<MatrixSpec> placed_runs(const MatrixSpec& spec, const FormatChoice& formats) {
  std::vector<MatrixSpec> runs;
  bool has_k_quants = false;
  uint32_t row = spec.first_row;
  for (const MatrixSpec::Part& part : spec.parts) {
    MatrixSpec run = spec;
    run.parts = {part};
    run.first_row = row;
    row += part.rows;
    has_k_quants = has_k_quants || kernels::is_k_quant(formats(run).type);
    if (!runs.empty() && formats(runs.back()) == formats(run)) {
      runs.back().parts.push_back(part);
    } else {
      runs.push_back(std::move(run));
    }
  }
  return has_k_quants && !spec.alternating ? runs : std::vector{spec};
}

namespace {

uint32_t rows_per_shard(const gpu::Limits& limits, const MatrixSpec& spec, const Matrix& matrix) {
  const uint64_t limit = std::min(limits.max_binding_bytes, limits.max_buffer_bytes);
  const auto step = static_cast<uint32_t>(spec.alternating ? spec.parts.size() : 1);
  return static_cast<uint32_t>(std::min<uint64_t>(limit / matrix.row_bytes() / step * step, matrix.rows));
}

Matrix empty_matrix(const MatrixSpec& spec, const WeightFormat& format) {
  return {.format = format, .rows = spec.rows(), .columns = spec.columns, .shards = {}, .bias = {}};
}

}  // namespace

Result<Matrix> create_matrix(gpu::Device& device, const MatrixSpec& spec, const WeightFormat& format) {
  Matrix matrix = empty_matrix(spec, format);
  const uint32_t shard_rows = rows_per_shard(device.limits(), spec, matrix);
  if (shard_rows == 0) {
    const size_t step = spec.alternating ? spec.parts.size() : 1;
    return fail(ErrorCode::kOutOfMemory, "{}: {} takes {} bytes, more than the {} that {} can bind", spec.label,
                step == 1 ? "one row" : fmt::format("a group of {} rows", step), with_commas(step * matrix.row_bytes()),
                with_commas(std::min(device.limits().max_binding_bytes, device.limits().max_buffer_bytes)),
                device.info().name);
  }
  for (uint32_t row = 0; row < matrix.rows; row += shard_rows) {
    Matrix::Shard shard{
        .buffer = {}, .scales = {}, .first_row = spec.first_row + row, .rows = std::min(shard_rows, matrix.rows - row)};
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

std::vector<uint64_t> buffer_sizes(const gpu::Limits& limits, const LayerSpec& spec, const FormatChoice& formats) {
  std::vector<uint64_t> sizes;
  for (const MatrixSpec* stack : {&spec.qkv, &spec.o, &spec.gate_up, &spec.down}) {
    for (const MatrixSpec& run : placed_runs(*stack, formats)) {
      const Matrix matrix = empty_matrix(run, formats(run));
      const uint32_t shard_rows = std::max(1U, rows_per_shard(limits, run, matrix));
      for (uint32_t row = 0; row < matrix.rows; row += shard_rows) {
        const uint64_t rows = std::min(shard_rows, matrix.rows - row);
        sizes.push_back(round_up(rows * matrix.row_bytes(), uint64_t{4}));
        if (matrix.format.block != 0) sizes.push_back(round_up(rows * matrix.scale_row_bytes(), uint64_t{4}));
      }
    }
  }
  return sizes;
}

uint64_t placed_bytes(const MatrixSpec& spec, const FormatChoice& formats) {
  uint64_t bytes = 0;
  for (const MatrixSpec& run : placed_runs(spec, formats)) {
    const Matrix matrix = empty_matrix(run, formats(run));
    bytes += matrix.rows * (matrix.row_bytes() + matrix.scale_row_bytes());
    if (run.has_bias()) bytes += uint64_t{run.first_row + matrix.rows} * 4;
  }
  return bytes;
}

Result<Weights> assemble_weights(const WeightTable& table, const FormatChoice& formats, const MatrixSource& matrix,
                                 const VectorSource& vector, const LayerHook& on_layer) {
  Weights weights;
  CRIA_TRY_ASSIGN(weights.embedding, matrix(table.embedding));
  for (const LayerSpec& spec : table.layers) {
    CRIA_TRY_ASSIGN(LayerWeights layer, assemble_layer(spec, formats, matrix, vector));
    CRIA_TRY(on_layer(static_cast<uint32_t>(weights.layers.size()), layer));
    weights.layers.push_back(std::move(layer));
  }
  CRIA_TRY_ASSIGN(weights.final_norm, vector(table.final_norm));
  if (table.lm_head) {
    CRIA_TRY_ASSIGN(weights.lm_head, matrix(*table.lm_head));
  }
  return weights;
}

Result<Matrix> load_matrix(gpu::Device& device, const MatrixSpec& spec, const formats::Checkpoint& checkpoint,
                           const WeightChoice& choice) {
  const std::function<void(uint64_t)> ignore_progress = [](uint64_t) {};
  Loader loader(device, checkpoint, choice, ignore_progress);
  CRIA_TRY_ASSIGN(Matrix matrix, loader.matrix(spec));
  CRIA_TRY(device.wait_idle());
  return matrix;
}

Result<Weights> load_weights(gpu::Device& device, const WeightTable& table, const formats::Checkpoint& checkpoint,
                             const WeightChoice& choice, const std::function<void(uint64_t)>& on_progress,
                             const LayerHook& on_layer) {
  note_conversions(table, checkpoint, choice);
  Loader loader(device, checkpoint, choice, on_progress);
  CRIA_TRY_ASSIGN(Weights weights, assemble_weights(
                                       table, formats_from(checkpoint, choice),
                                       [&](const MatrixSpec& spec) { return loader.matrix(spec); },
                                       [&](const VectorSpec& spec) { return loader.vector(spec); }, on_layer));
  CRIA_TRY(device.wait_idle());
  return weights;
}

}  // namespace cria::model
