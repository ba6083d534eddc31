#include "model/synthetic.h"

#include <vector>

#include "kernels/fill_random.h"

namespace cria::model {
namespace {

using kernels::Encoding;
using kernels::Matrix;
using kernels::WeightType;

Encoding encoding_of(WeightType type) {
  switch (type) {
    case WeightType::kF32: return Encoding::kF32;
    case WeightType::kF16: return Encoding::kF16;
    case WeightType::kBF16: return Encoding::kBF16;
  }
  return Encoding::kF32;
}

Result<gpu::Buffer> upload(gpu::Device& device, std::string_view label, const std::vector<float>& values) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, device.create_buffer(label, values.size() * 4, gpu::MemoryKind::kWeights));
  CRIA_TRY(device.write(buffer, 0, std::as_bytes(std::span(values))));
  return buffer;
}

/// Fills the shards of a matrix as if they were one; the numbers do not depend on how it is cut.
Status fill_elements(gpu::Device& device, const Matrix& matrix, uint32_t seed) {
  CRIA_TRY_ASSIGN(const kernels::FillRandom fill, kernels::FillRandom::create(device, encoding_of(matrix.type)));
  gpu::Recorder recorder = device.record("made-up weights");
  for (const Matrix::Shard& shard : matrix.shards) {
    fill.record(recorder, shard.buffer, seed, shard.first_row * kernels::padded_columns(matrix.columns));
  }
  return recorder.submit();
}

/// Makes up matrices and vectors, each with a seed of its own.
class Maker {
 public:
  Maker(gpu::Device& device, const TypeChoice& types) : device_(device), types_(types) {}

  Result<Matrix> matrix(const MatrixSpec& spec) {
    CRIA_TRY_ASSIGN(Matrix matrix, create_matrix(device_, spec, types_(spec)));
    CRIA_TRY(fill_elements(device_, matrix, next_seed_++));
    if (spec.has_bias()) {
      std::vector<float> bias(matrix.rows);
      for (uint32_t r = 0; r < matrix.rows; ++r) bias[r] = kernels::random_weight(next_seed_, r);
      ++next_seed_;
      CRIA_TRY_ASSIGN(matrix.bias, upload(device_, spec.label + ".bias", bias));
    }
    return matrix;
  }

  Result<gpu::Buffer> vector(const VectorSpec& spec) {
    return upload(device_, spec.name, std::vector<float>(spec.size, 1.0F));
  }

 private:
  gpu::Device& device_;
  const TypeChoice& types_;
  uint32_t next_seed_ = 1;
};

}  // namespace

TypeChoice made_up_types(Precision precision) {
  const WeightType type = precision == Precision::kF32    ? WeightType::kF32
                          : precision == Precision::kBF16 ? WeightType::kBF16
                                                          : WeightType::kF16;
  return [type](const MatrixSpec&) { return type; };
}

Result<Weights> make_up_weights(gpu::Device& device, const WeightTable& table, const TypeChoice& types) {
  Maker maker(device, types);
  CRIA_TRY_ASSIGN(Weights weights, assemble_weights(
                                       table, [&](const MatrixSpec& spec) { return maker.matrix(spec); },
                                       [&](const VectorSpec& spec) { return maker.vector(spec); }));
  CRIA_TRY(device.wait_idle());
  return weights;
}

}  // namespace cria::model
