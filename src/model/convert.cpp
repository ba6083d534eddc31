#include "model/convert.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>

#include "base/parallel.h"
#include "model/row_source.h"
#include "quant/block_formats.h"
#include "quant/float16.h"

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
    case Precision::kInt4: return !whole_blocks ? DType::kF16 : spec.keeps_precision ? DType::kQ8_0 : DType::kQ4_0;
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

Status write_converted(const ConvertedTensor& tensor, uint32_t paired_rows, const platform::WriteBytes& write) {
  const uint64_t columns = tensor.shape.back();
  const uint64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape.front();
  std::vector<std::byte> data(tensor.bytes());
  if (tensor.shape.size() == 1) {
    const std::vector<float> values = to_f32(*tensor.source);
    TensorView target;
    target.paired_rows = paired_rows;
    for (uint64_t i = 0; i < columns; ++i) {
      std::memcpy(data.data() + target.stored_row(i) * sizeof(float), &values[i], sizeof(float));
    }
    return write(data);
  }
  const uint64_t row_bytes = data.size() / rows;
  const bool same_type = tensor.source->dtype == tensor.dtype;
  TensorView target;
  target.paired_rows = paired_rows;
  FirstError error;
  parallel_for(rows, (1U << 16) / columns + 1, [&](uint64_t begin, uint64_t end) {
    std::vector<float> row(columns);
    for (uint64_t r = begin; r < end && !error.stop(); ++r) {
      std::byte* out = data.data() + target.stored_row(r) * row_bytes;
      if (platform::interrupted()) {
        return error.set(fail(ErrorCode::kIo, "interrupted while converting {}", tensor.source->name));
      }
      if (same_type) {  // nothing is lost by not decoding it
        std::memcpy(out, tensor.source->data.data() + tensor.source->stored_row(r) * row_bytes, row_bytes);
        continue;
      }
      decode_row(*tensor.source, r, row);
      if (const auto bad = encode_row(row, tensor.dtype, out)) {
        return error.set(fail(ErrorCode::kInvalidInput,
                              "tensor \"{}\" holds {} at row {}, column {}, which does not fit in {}",
                              tensor.source->name, row[*bad], r, *bad, formats::dtype_name(tensor.dtype)));
      }
    }
  });
  CRIA_TRY(error.take());
  tensor.source->file->release(tensor.source->file_offset, tensor.source->data.size());
  return write(data);
}

}  // namespace cria::model
