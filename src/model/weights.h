// A model's weights on the GPU, and loading them from a checkpoint.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "formats/huggingface.h"
#include "gpu/device.h"
#include "kernels/matrix.h"
#include "model/weight_table.h"

namespace cria::model {

/// The type that matrices get on the GPU; kAsStored keeps each tensor's own.
enum class Precision : uint8_t { kAsStored, kF32, kF16, kBF16 };

/// Reads `auto`, `f32`, `f16` or `bf16`. Errors: kInvalidInput.
Result<Precision> parse_precision(std::string_view text);
[[nodiscard]] std::string_view precision_name(Precision precision);

struct LayerWeights {
  gpu::Buffer input_norm, mlp_norm;  ///< f32 [hidden_size]
  gpu::Buffer q_norm, k_norm;        ///< f32 [head_dim]; not valid without q/k norms
  kernels::Matrix qkv, o, gate_up, down;
};

struct Weights {
  kernels::Matrix embedding;  ///< [vocab_size, hidden_size]
  std::vector<LayerWeights> layers;
  gpu::Buffer final_norm;                  ///< f32 [hidden_size]
  std::optional<kernels::Matrix> lm_head;  ///< [vocab_size, hidden_size]; absent: the embedding serves

  [[nodiscard]] const kernels::Matrix& output() const { return lm_head ? *lm_head : embedding; }
};

/// The type that a matrix of the checkpoint gets: the requested one, or the one of all its parts (f32
/// where they differ).
[[nodiscard]] kernels::WeightType placed_type(const MatrixSpec& spec, const formats::HuggingFaceFolder& folder,
                                              Precision precision);

/// Tells the type that each matrix gets on the GPU.
using TypeChoice = std::function<kernels::WeightType(const MatrixSpec&)>;
/// placed_type for the matrices of a folder, which must live as long.
[[nodiscard]] TypeChoice types_from(const formats::HuggingFaceFolder& folder, Precision precision);

/// Makes the weights of a table, of the types that a TypeChoice told.
using WeightSource = std::function<Result<Weights>(const WeightTable&)>;

/// Creates the shards of a matrix (without its bias), as many rows in each as one binding holds.
/// Errors: kOutOfMemory, naming the label, the bytes and the limit.
Result<kernels::Matrix> create_matrix(gpu::Device& device, const MatrixSpec& spec, kernels::WeightType type);

/// Bytes that a matrix takes on the GPU, row padding and bias included.
[[nodiscard]] uint64_t placed_bytes(const MatrixSpec& spec, kernels::WeightType type);

/// Makes one matrix or vector of a table.
using MatrixSource = std::function<Result<kernels::Matrix>(const MatrixSpec&)>;
using VectorSource = std::function<Result<gpu::Buffer>(const VectorSpec&)>;

/// Makes everything in the table, in the order of the forward pass. Errors: those of the sources.
Result<Weights> assemble_weights(const WeightTable& table, const MatrixSource& matrix, const VectorSource& vector);

/// Uploads all weights, in pieces of at most a few MB; `on_progress` gets the bytes of the checkpoint
/// done since the last call. The tensors must have been checked (check_tensors).
/// Errors: kOutOfMemory naming the tensor, bytes and limit; kInvalidInput where a value does not fit the
/// requested precision.
Result<Weights> load_weights(gpu::Device& device, const WeightTable& table, const formats::HuggingFaceFolder& folder,
                             Precision precision, const std::function<void(uint64_t)>& on_progress);

}  // namespace cria::model
