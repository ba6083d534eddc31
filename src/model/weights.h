// A model's weights on the GPU, and loading them from a checkpoint.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "formats/checkpoint.h"
#include "gpu/device.h"
#include "kernels/matrix.h"
#include "model/weight_table.h"

namespace cria::model {

/// The type that matrices get on the GPU; kAsStored keeps each tensor's own.
enum class Precision : uint8_t { kAsStored, kF32, kF16, kBF16, kInt8, kInt4, kQ4_K, kQ5_K, kQ6_K };

/// Reads `auto`, `f32`, `f16`, `bf16`, `int8`, `int4`, `q4_k`, `q5_k` or `q6_k`. Errors: kInvalidInput.
Result<Precision> parse_precision(std::string_view text);
[[nodiscard]] std::string_view precision_name(Precision precision);

/// What matrices become on the GPU.
struct WeightChoice {
  WeightChoice() = default;
  WeightChoice(Precision wanted, uint32_t block_columns = 32)  // NOLINT(google-explicit-constructor)
      : precision(wanted), block(block_columns) {}
  Precision precision = Precision::kAsStored;
  uint32_t block = 32;  ///< columns that share a scale, of quantised types: 32, 64 or 128
};

struct LayerWeights {
  gpu::Buffer input_norm, mlp_norm;  ///< f32 [hidden_size]
  gpu::Buffer q_norm, k_norm;        ///< f32 [head_dim]; not valid without q/k norms
  std::vector<kernels::Matrix> qkv;  ///< one, or the runs of rows that have different formats (placed_runs)
  kernels::Matrix o, gate_up, down;
};

/// Matrices that may stand for those of a layer.
struct LayerMatrices {
  std::optional<kernels::Matrix> o, gate_up, down;
};

struct Weights {
  kernels::Matrix embedding;  ///< [vocab_size, hidden_size]
  std::vector<LayerWeights> layers;
  gpu::Buffer final_norm;                  ///< f32 [hidden_size]
  std::optional<kernels::Matrix> lm_head;  ///< [vocab_size, hidden_size]; absent: the embedding serves

  [[nodiscard]] const kernels::Matrix& output() const { return lm_head ? *lm_head : embedding; }
};

/// The format that a choice gives a matrix; none where it is to keep its own. With int4, q4_k and q5_k, matrices that
/// keep precision get q6_k; where rows are no whole super-blocks, that and other K-quants are int8 instead.
[[nodiscard]] std::optional<kernels::WeightFormat> chosen_format(const MatrixSpec& spec, const WeightChoice& choice);

/// The format that a matrix of the checkpoint gets: the chosen one, or the type of all its parts (f32 where they
/// differ). Parts of Q4_0 stay int4 in blocks of 32, those of Q8_0 (or of both) int8; parts of the same K-quant stay as
/// they are; those of other block types become f16.
[[nodiscard]] kernels::WeightFormat placed_format(const MatrixSpec& spec, const formats::Checkpoint& checkpoint,
                                                  const WeightChoice& choice);

/// Tells the format that each matrix gets on the GPU.
using FormatChoice = std::function<kernels::WeightFormat(const MatrixSpec&)>;
/// placed_format for the matrices of a checkpoint, which must live as long.
[[nodiscard]] FormatChoice formats_from(const formats::Checkpoint& checkpoint, const WeightChoice& choice);

/// What a matrix is placed as: itself, or, where K-quants are stacked with other types, the runs of its parts that have
/// the same format, so that none of them is converted. Rows that alternate stay together.
[[nodiscard]] std::vector<MatrixSpec> placed_runs(const MatrixSpec& spec, const FormatChoice& formats);

/// Called with each layer, by its index, as soon as it is on the device.
using LayerHook = std::function<Status(uint32_t, LayerWeights&)>;
/// Makes the weights of a table, of the formats that a FormatChoice told.
using WeightSource = std::function<Result<Weights>(const WeightTable&, const LayerHook&)>;

/// Creates the shards of a matrix (without its bias), as many rows in each as one binding holds, pairs of
/// them where rows alternate.
/// Errors: kOutOfMemory, naming the label, the bytes and the limit.
Result<kernels::Matrix> create_matrix(gpu::Device& device, const MatrixSpec& spec, const kernels::WeightFormat& format);

/// The sizes of the buffers that create_matrix makes for the matrices of a layer (matrix_buffers), in bytes.
[[nodiscard]] std::vector<uint64_t> buffer_sizes(const gpu::Limits& limits, const LayerSpec& spec,
                                                 const FormatChoice& formats);

/// Bytes that a matrix takes on the GPU, row padding and bias included.
[[nodiscard]] uint64_t placed_bytes(const MatrixSpec& spec, const FormatChoice& formats);

/// Makes one matrix or vector of a table.
using MatrixSource = std::function<Result<kernels::Matrix>(const MatrixSpec&)>;
using VectorSource = std::function<Result<gpu::Buffer>(const VectorSpec&)>;

/// Makes everything in the table, in the order of the forward pass. Errors: those of the sources.
Result<Weights> assemble_weights(const WeightTable& table, const FormatChoice& formats, const MatrixSource& matrix,
                                 const VectorSource& vector, const LayerHook& on_layer);

/// Uploads one matrix, as load_weights does.
Result<kernels::Matrix> load_matrix(gpu::Device& device, const MatrixSpec& spec, const formats::Checkpoint& checkpoint,
                                    const WeightChoice& choice);

/// Uploads all weights, in pieces of at most a few MB, quantising them on the GPU where that was chosen; `on_progress`
/// gets the bytes of the checkpoint done since the last call. The tensors must have been checked (check_tensors).
/// Errors: kOutOfMemory naming the tensor, bytes and limit; kInvalidInput where a value does not fit the
/// requested precision.
Result<Weights> load_weights(gpu::Device& device, const WeightTable& table, const formats::Checkpoint& checkpoint,
                             const WeightChoice& choice, const std::function<void(uint64_t)>& on_progress,
                             const LayerHook& on_layer);

}  // namespace cria::model
