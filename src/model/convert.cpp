#include "model/convert.h"

#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <mutex>

#include "base/checked.h"
#include "base/parallel.h"
#include "model/row_source.h"
#include "quant/block_formats.h"
#include "quant/compensated_encode.h"
#include "quant/float16.h"
#include "quant/lanes.h"

namespace cria::model {
namespace {

using formats::DType;
using formats::TensorView;

/// A K-quant where rows are whole super-blocks.
DType k_quant(const MatrixSpec& spec, DType dtype) {
  if (spec.columns % kernels::kSuperBlock != 0) return spec.columns % 32 == 0 ? DType::kQ8_0 : DType::kF16;
  return spec.keeps_precision ? DType::kQ6_K : dtype;
}

DType matrix_type(const MatrixSpec& spec, DType stored, Precision precision) {
  const bool whole_blocks = spec.columns % 32 == 0;
  switch (precision) {
    case Precision::kF32: return DType::kF32;
    case Precision::kF16: return DType::kF16;
    case Precision::kBF16: return DType::kBF16;
    case Precision::kInt8: return whole_blocks ? DType::kQ8_0 : DType::kF16;
    case Precision::kInt4:
      if (spec.keeps_precision) return k_quant(spec, DType::kQ6_K);
      return whole_blocks ? DType::kQ4_0 : DType::kF16;
    case Precision::kQ4_K: return k_quant(spec, DType::kQ4_K);
    case Precision::kQ5_K: return k_quant(spec, DType::kQ5_K);
    case Precision::kQ6_K: return k_quant(spec, DType::kQ6_K);
    case Precision::kAsStored: break;
  }
  return stored;
}

/// Writes a row in a type; the first value that does not fit is told by its column.
std::optional<uint64_t> encode_row(std::span<const float> row, DType dtype, std::byte* out) {
  if (formats::dtype_block(dtype) > 1) {
    const quant::BlockFormat* format = quant::find_block_format(formats::dtype_name(dtype));
    CRIA_CHECK(format != nullptr && format->encode != nullptr);  // no other type is chosen
    format->encode(row, out);
  } else if (dtype == DType::kF32) {
    std::memcpy(out, row.data(), row.size_bytes());
  } else {
    for (size_t i = 0; i < row.size(); ++i) {
      const uint16_t bits = dtype == DType::kF16 ? quant::f32_to_f16(row[i]) : quant::f32_to_bf16(row[i]);
      const float back = dtype == DType::kF16 ? quant::f16_to_f32(bits) : quant::bf16_to_f32(bits);
      if (std::isfinite(row[i]) && !std::isfinite(back)) return i;
      std::memcpy(out + 2 * i, &bits, sizeof(bits));
    }
  }
  return std::nullopt;
}

/// The first trouble of several threads.
class FirstError {
 public:
  void set(std::unexpected<Error> error) {
    const std::lock_guard lock(mutex_);
    if (status_) status_ = std::move(error);
    stop_ = true;
  }
  [[nodiscard]] bool stop() const { return stop_; }
  [[nodiscard]] Status take() { return std::move(status_); }

 private:
  std::mutex mutex_;
  Status status_;
  std::atomic<bool> stop_ = false;
};

}  // namespace

std::vector<ConvertedTensor> converted_tensors(const WeightTable& table, const formats::Checkpoint& checkpoint,
                                               Precision precision) {
  std::vector<ConvertedTensor> tensors;
  const auto add = [&](const std::string& name, DType dtype) {
    const TensorView* source = checkpoint.find(name);
    tensors.push_back({.name = name, .source = source, .dtype = dtype, .shape = source->shape});
  };
  for (const MatrixSpec* spec : all_matrices(table)) {
    for (const MatrixSpec::Part& part : spec->parts) {
      add(part.name, matrix_type(*spec, checkpoint.find(part.name)->dtype, precision));
      if (!part.bias.empty()) add(part.bias, DType::kF32);
    }
  }
  for (const VectorSpec* spec : all_vectors(table)) add(spec->name, DType::kF32);
  return tensors;
}

namespace {

/// Input for about so many bytes is converted before it is written.
constexpr uint64_t kPieceBytes = 32ULL << 20;
/// Rows that are compensated side by side.
constexpr uint64_t kRowsTogether = quant::kLanes;

Status write_vector(const ConvertedTensor& tensor, uint32_t paired_rows, const platform::WriteBytes& write) {
  const std::vector<float> values = to_f32(*tensor.source);
  std::vector<float> ordered(values.size());
  TensorView target;
  target.paired_rows = paired_rows;
  for (uint64_t i = 0; i < values.size(); ++i) ordered[target.stored_row(i)] = values[i];
  return write(std::as_bytes(std::span(ordered)));
}

/// Converts rows first … first + count - 1, whose places in the output are among themselves.
Status convert_rows(const ConvertedTensor& tensor, uint32_t paired_rows, const quant::SecondMoments* inputs,
                    uint64_t first, uint64_t count, std::vector<std::byte>& out) {
  const uint64_t columns = tensor.shape.back();
  const uint64_t row_bytes = tensor.bytes() / tensor.shape.front();
  const bool same_type = tensor.source->dtype == tensor.dtype;
  const bool compensates = inputs != nullptr && tensor.dtype == DType::kQ4_0 && !same_type;
  CRIA_CHECK(!compensates || (paired_rows == 0 && inputs->columns() == columns));
  TensorView target;
  target.paired_rows = paired_rows;
  out.resize(count * row_bytes);
  FirstError error;
  const uint64_t rows_at_once = compensates ? kRowsTogether : 1;
  const uint64_t grain = compensates ? 1 : (1U << 16) / columns + 1;
  parallel_for(divide_up(count, rows_at_once), grain, [&](uint64_t begin, uint64_t end) {
    std::vector<float> rows(rows_at_once * columns);
    for (uint64_t group = begin; group < end && !error.stop(); ++group) {
      if (platform::interrupted()) {
        return error.set(fail(ErrorCode::kIo, "interrupted while converting {}", tensor.source->name));
      }
      const uint64_t row = first + group * rows_at_once;
      std::byte* to = out.data() + (target.stored_row(row) - first) * row_bytes;
      if (same_type) {  // nothing is lost by not decoding it
        std::memcpy(to, tensor.source->data.data() + tensor.source->stored_row(row) * row_bytes, row_bytes);
        continue;
      }
      const uint64_t taken = std::min(rows_at_once, first + count - row);
      const std::span<float> values = std::span(rows).first(taken * columns);
      for (uint64_t i = 0; i < taken; ++i) decode_row(*tensor.source, row + i, values.subspan(i * columns, columns));
      if (compensates) {
        quant::encode_q4_0_for(*inputs, values, to);
      } else if (const auto bad = encode_row(values, tensor.dtype, to)) {
        return error.set(fail(ErrorCode::kInvalidInput,
                              "tensor \"{}\" holds {} at row {}, column {}, which does not fit in {}",
                              tensor.source->name, values[*bad], row, *bad, formats::dtype_name(tensor.dtype)));
      }
    }
  });
  return error.take();
}

}  // namespace

Status write_converted(const ConvertedTensor& tensor, uint32_t paired_rows, const quant::SecondMoments* inputs,
                       const platform::WriteBytes& write) {
  if (tensor.shape.size() == 1) return write_vector(tensor, paired_rows, write);
  const uint64_t rows = tensor.shape.front();
  const uint64_t source_row_bytes = tensor.source->data.size() / rows;
  // A head's rows change places: they are converted together.
  const uint64_t piece = round_up<uint64_t>(std::max<uint64_t>(1, kPieceBytes / source_row_bytes),
                                            std::max<uint64_t>({1, paired_rows, tensor.source->paired_rows}));
  std::array<std::vector<std::byte>, 2> data;
  std::future<Status> written;  // of the piece before; it is waited for where this returns early too
  for (uint64_t first = 0, turn = 0; first < rows; first += piece, turn = 1 - turn) {
    const uint64_t count = std::min(piece, rows - first);
    CRIA_TRY(convert_rows(tensor, paired_rows, inputs, first, count, data[turn]));
    tensor.source->file->release(tensor.source->file_offset + first * source_row_bytes, count * source_row_bytes);
    if (written.valid()) CRIA_TRY(written.get());
    written = std::async(std::launch::async, [&write, &bytes = data[turn]] { return write(bytes); });
  }
  return written.get();
}

}  // namespace cria::model
