#include "model/synthetic.h"

#include <vector>

#include "kernels/fill_random.h"
#include "quant/float16.h"
#include "quant/super_blocks.h"

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
    case WeightType::kInt8:
    case WeightType::kInt4:
    case WeightType::kQ4_K:
    case WeightType::kQ5_K:
    case WeightType::kQ6_K: return Encoding::kBits;
  }
  return Encoding::kF32;
}

/// The scale of random integers with which they are about as large as the weights of float types: integers
/// that are equally likely have a standard deviation of 2^bits / sqrt(12).
float made_up_scale(WeightType type) {
  return 0.018F * 3.4641F / static_cast<float>(1U << kernels::weight_type_bits(type));
}

/// The words of scales that each block gets, or each two of those with an f16 a block. Groups' scales are such that the
/// block's is a normal f16.
std::vector<uint32_t> scale_words(WeightType type) {
  const float scale = made_up_scale(type);
  if (!kernels::is_k_quant(type)) {
    const uint32_t half = quant::f32_to_f16(scale);
    return {half | half << 16};
  }
  if (type == WeightType::kQ6_K) {
    constexpr uint32_t kEight = 0x08080808;
    return {kEight, kEight, kEight, kEight, quant::f32_to_f16(scale / 8)};
  }
  // All groups have the scale 16 and the offset 30 or 31, so that the integer in the middle is 0.
  const bool is_q4 = type == WeightType::kQ4_K;
  quant::BlockQ4_K block{};
  block.scale = quant::f32_to_f16(scale / 16);
  block.offset = quant::f32_to_f16(scale * (is_q4 ? 0.25F : 0.5F));
  for (uint32_t g = 0; g < 8; ++g) quant::put_six_bit_pair(16, is_q4 ? 30 : 31, g, block.scales);
  const auto words = quant::planes_of(block).scales;
  return {words.begin(), words.end()};
}

Result<gpu::Buffer> upload(gpu::Device& device, std::string_view label, const std::vector<float>& values) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, device.create_buffer(label, values.size() * 4, gpu::MemoryKind::kWeights));
  CRIA_TRY(device.write(buffer, 0, std::as_bytes(std::span(values))));
  return buffer;
}

/// Gives every block of a quantised matrix the same scales.
Status fill_scales(gpu::Device& device, const Matrix& matrix) {
  if (!kernels::is_quantised(matrix.format.type)) return {};
  const std::vector<uint32_t> pattern = scale_words(matrix.format.type);
  for (const Matrix::Shard& shard : matrix.shards) {
    std::vector<uint32_t> words(shard.scales.size_bytes() / 4);
    for (size_t i = 0; i < words.size(); ++i) words[i] = pattern[i % pattern.size()];
    CRIA_TRY(device.write(shard.scales, 0, std::as_bytes(std::span(words))));
  }
  return {};
}

/// Fills the shards of a matrix as if they were one; the numbers do not depend on how it is cut.
Status fill_elements(gpu::Device& device, const Matrix& matrix, uint32_t seed) {
  CRIA_TRY_ASSIGN(const kernels::FillRandom fill, kernels::FillRandom::create(device, encoding_of(matrix.format.type)));
  gpu::Recorder recorder = device.record("made-up weights");
  for (const Matrix::Shard& shard : matrix.shards) {
    const uint64_t first = shard.first_row * kernels::padded_columns(matrix.columns, matrix.format);
    const bool integers = kernels::is_quantised(matrix.format.type);
    fill.record(recorder, shard.buffer, seed,
                static_cast<uint32_t>(integers ? first * kernels::weight_type_bits(matrix.format.type) / 32 : first));
  }
  CRIA_TRY(recorder.submit());
  return fill_scales(device, matrix);
}

/// Makes up matrices and vectors, each with a seed of its own.
class Maker {
 public:
  Maker(gpu::Device& device, const FormatChoice& formats) : device_(device), formats_(formats) {}

  Result<Matrix> matrix(const MatrixSpec& spec) {
    CRIA_TRY_ASSIGN(Matrix matrix, create_matrix(device_, spec, formats_(spec)));
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
  const FormatChoice& formats_;
  uint32_t next_seed_ = 1;
};

}  // namespace

FormatChoice made_up_formats(const WeightChoice& choice) {
  return [choice](const MatrixSpec& spec) { return chosen_format(spec, choice).value_or(WeightType::kF16); };
}

Result<Weights> make_up_weights(gpu::Device& device, const WeightTable& table, const FormatChoice& formats,
                                const LayerHook& on_layer) {
  Maker maker(device, formats);
  CRIA_TRY_ASSIGN(Weights weights, assemble_weights(
                                       table, formats, [&](const MatrixSpec& spec) { return maker.matrix(spec); },
                                       [&](const VectorSpec& spec) { return maker.vector(spec); }, on_layer));
  CRIA_TRY(device.wait_idle());
  return weights;
}

}  // namespace cria::model
