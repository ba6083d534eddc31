// Which tensors a model is made of: their names in a checkpoint, their shapes, and how they are
// grouped on the GPU. The one place that knows tensor names; gguf_names.h translates those of GGUF files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "model/config.h"

namespace cria::model {

/// A matrix on the GPU made of one or more checkpoint tensors [rows, columns], stacked by rows.
struct MatrixSpec {
  struct Part {
    std::string name;  ///< of the tensor, with ".weight"
    uint32_t rows = 0;
    std::string bias;  ///< of its bias [rows]; empty where there is none
  };
  std::string label;
  std::vector<Part> parts;
  uint32_t columns = 0;
  uint32_t first_row = 0;        ///< of a stack that this is a run of (placed_runs)
  bool alternating = false;      ///< the rows of the parts alternate instead of following each other
  bool keeps_precision = false;  ///< embedding, output, q, k and v: not below 6 bits, which cost little and matter much

  [[nodiscard]] uint32_t rows() const;
  [[nodiscard]] bool has_bias() const;
};

/// A vector of f32 on the GPU.
struct VectorSpec {
  std::string name;
  uint32_t size = 0;
};

struct LayerSpec {
  VectorSpec input_norm;
  MatrixSpec qkv;  ///< queries, keys and values in one product
  std::optional<VectorSpec> q_norm, k_norm;
  MatrixSpec o;
  VectorSpec mlp_norm;
  MatrixSpec gate_up;  ///< gate and up in one product, their rows alternating
  MatrixSpec down;
};

struct WeightTable {
  MatrixSpec embedding;
  std::vector<LayerSpec> layers;
  VectorSpec final_norm;
  std::optional<MatrixSpec> lm_head;  ///< absent where the embedding serves
};

[[nodiscard]] WeightTable weight_table(const ModelConfig& config);

/// All matrices of the table, in the order of the forward pass.
[[nodiscard]] std::vector<const MatrixSpec*> all_matrices(const WeightTable& table);
/// Those that a token is multiplied by: all but an embedding that is only looked up.
[[nodiscard]] std::vector<const MatrixSpec*> product_matrices(const WeightTable& table);
/// All vectors of the table.
[[nodiscard]] std::vector<const VectorSpec*> all_vectors(const WeightTable& table);

/// Columns of the widest x that a product of the model has.
[[nodiscard]] uint32_t widest_input(const ModelConfig& config);

/// Checks that the checkpoint has every tensor of the table with its shape and a floating type, and no
/// tensor that the table does not know (a weight that would be ignored). Errors: kInvalidInput,
/// kUnsupported, naming the tensor.
Status check_tensors(const WeightTable& table, const formats::Checkpoint& checkpoint);

}  // namespace cria::model
