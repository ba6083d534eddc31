#include "model/weight_table.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace cria::model {

uint32_t MatrixSpec::rows() const {
  return std::accumulate(parts.begin(), parts.end(), 0U,
                         [](uint32_t sum, const Part& part) { return sum + part.rows; });
}

bool MatrixSpec::has_bias() const {
  return std::any_of(parts.begin(), parts.end(), [](const Part& part) { return !part.bias.empty(); });
}

namespace {

MatrixSpec::Part part(const std::string& prefix, uint32_t rows, bool bias) {
  return {.name = prefix + ".weight", .rows = rows, .bias = bias ? prefix + ".bias" : ""};
}

LayerSpec layer_spec(const ModelConfig& config, uint32_t index) {
  const std::string layer = fmt::format("model.layers.{}.", index);
  const std::string attention = layer + "self_attn.";
  const std::string mlp = layer + "mlp.";
  LayerSpec spec;
  spec.input_norm = {layer + "input_layernorm.weight", config.hidden_size};
  spec.qkv = {.label = attention + "qkv",
              .parts = {part(attention + "q_proj", config.q_size(), config.qkv_bias),
                        part(attention + "k_proj", config.kv_size(), config.qkv_bias),
                        part(attention + "v_proj", config.kv_size(), config.qkv_bias)},
              .columns = config.hidden_size,
              .keeps_precision = true};
  if (config.qk_norm) {
    spec.q_norm = VectorSpec{attention + "q_norm.weight", config.head_dim};
    spec.k_norm = VectorSpec{attention + "k_norm.weight", config.head_dim};
  }
  spec.o = {.label = attention + "o_proj",
            .parts = {part(attention + "o_proj", config.hidden_size, config.o_bias)},
            .columns = config.q_size()};
  spec.mlp_norm = {layer + "post_attention_layernorm.weight", config.hidden_size};
  spec.gate_up = {.label = mlp + "gate_up",
                  .parts = {part(mlp + "gate_proj", config.intermediate_size, config.mlp_bias),
                            part(mlp + "up_proj", config.intermediate_size, config.mlp_bias)},
                  .columns = config.hidden_size,
                  .alternating = true};
  spec.down = {.label = mlp + "down_proj",
               .parts = {part(mlp + "down_proj", config.hidden_size, config.mlp_bias)},
               .columns = config.intermediate_size};
  return spec;
}

std::string shape_text(const std::vector<uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool is_weight_type(formats::DType dtype) {
  using formats::DType;
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || formats::dtype_block(dtype) > 1;
}

Status check_tensor(const formats::Checkpoint& checkpoint, const std::string& name,
                    const std::vector<uint64_t>& shape) {
  const formats::TensorView* tensor = checkpoint.find(name);
  if (tensor == nullptr) {
    return fail(ErrorCode::kInvalidInput, "the checkpoint has no tensor \"{}\", which its configuration needs",
                checkpoint.stored_name(name));
  }
  if (tensor->shape != shape) {
    return fail(ErrorCode::kInvalidInput, "tensor \"{}\" has the shape {}; the configuration makes it {}", tensor->name,
                shape_text(tensor->shape), shape_text(shape));
  }
  if (!is_weight_type(tensor->dtype)) {
    return fail(ErrorCode::kUnsupported,
                "tensor \"{}\" is of type {}; F32, F16, BF16 and the types of blocks of GGUF are supported",
                tensor->name, formats::dtype_name(tensor->dtype));
  }
  return {};
}

/// Tensors that checkpoints carry and that the forward pass has no use for.
bool is_harmless(const std::string& name, const WeightTable& table) {
  return name.ends_with(".rotary_emb.inv_freq") || (name == "lm_head.weight" && !table.lm_head);
}

}  // namespace

WeightTable weight_table(const ModelConfig& config) {
  WeightTable table;
  table.embedding = {.label = "model.embed_tokens",
                     .parts = {part("model.embed_tokens", config.vocab_size, false)},
                     .columns = config.hidden_size,
                     .keeps_precision = true};
  for (uint32_t i = 0; i < config.num_layers; ++i) table.layers.push_back(layer_spec(config, i));
  table.final_norm = {"model.norm.weight", config.hidden_size};
  if (!config.tie_word_embeddings) {
    table.lm_head = MatrixSpec{.label = "lm_head",
                               .parts = {part("lm_head", config.vocab_size, false)},
                               .columns = config.hidden_size,
                               .keeps_precision = true};
  }
  return table;
}

std::vector<const MatrixSpec*> all_matrices(const WeightTable& table) {
  std::vector<const MatrixSpec*> matrices = {&table.embedding};
  for (const LayerSpec& layer : table.layers) {
    matrices.insert(matrices.end(), {&layer.qkv, &layer.o, &layer.gate_up, &layer.down});
  }
  if (table.lm_head) matrices.push_back(&*table.lm_head);
  return matrices;
}

std::vector<const MatrixSpec*> product_matrices(const WeightTable& table) {
  std::vector<const MatrixSpec*> matrices = all_matrices(table);
  if (table.lm_head) matrices.erase(matrices.begin());
  return matrices;
}

uint32_t widest_input(const ModelConfig& config) {
  return std::max({config.hidden_size, config.q_size(), config.intermediate_size});
}

std::vector<const VectorSpec*> all_vectors(const WeightTable& table) {
  std::vector<const VectorSpec*> vectors;
  for (const LayerSpec& layer : table.layers) {
    vectors.push_back(&layer.input_norm);
    if (layer.q_norm) vectors.insert(vectors.end(), {&*layer.q_norm, &*layer.k_norm});
    vectors.push_back(&layer.mlp_norm);
  }
  vectors.push_back(&table.final_norm);
  return vectors;
}

Status check_tensors(const WeightTable& table, const formats::Checkpoint& checkpoint) {
  std::set<std::string> known;
  for (const MatrixSpec* matrix : all_matrices(table)) {
    for (const MatrixSpec::Part& source : matrix->parts) {
      CRIA_TRY(check_tensor(checkpoint, source.name, {source.rows, matrix->columns}));
      known.insert(source.name);
      if (source.bias.empty()) continue;
      CRIA_TRY(check_tensor(checkpoint, source.bias, {source.rows}));
      known.insert(source.bias);
    }
  }
  for (const VectorSpec* vector : all_vectors(table)) {
    CRIA_TRY(check_tensor(checkpoint, vector->name, {vector->size}));
    known.insert(vector->name);
  }
  for (const std::string& name : checkpoint.names()) {
    if (!known.contains(name) && !is_harmless(name, table)) {
      return fail(ErrorCode::kUnsupported,
                  "the checkpoint holds the tensor \"{}\", which its configuration has no place for",
                  checkpoint.find(name)->name);
    }
  }
  return {};
}

}  // namespace cria::model
