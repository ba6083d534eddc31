// A model folder of any size that takes no room on the disk: its weights are a hole in the file.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "safetensors_text.h"
#include "temporary_folder.h"

namespace cria {

/// Writes a Llama of one layer whose embedding, [vocab_size, hidden_size] in f32, is nearly all of it. False where
/// the file system cannot hold a file of that size.
inline bool write_sparse_model(const TemporaryFolder& folder, uint64_t vocab_size, uint64_t hidden_size) {
  folder.write("config.json", R"({"architectures": ["LlamaForCausalLM"], "intermediate_size": 2, "head_dim": 2,
    "num_attention_heads": 1, "num_hidden_layers": 1, "tie_word_embeddings": true, "hidden_size": )" +
                                  std::to_string(hidden_size) + ", \"vocab_size\": " + std::to_string(vocab_size) +
                                  "}");
  std::string header = "{";
  uint64_t end = 0;
  const auto add = [&](const std::string& name, uint64_t rows, uint64_t columns) {
    const uint64_t begin = std::exchange(end, end + rows * columns * 4);
    const std::string shape = columns == 1 ? "[" + std::to_string(rows) + "]"
                                           : "[" + std::to_string(rows) + "," + std::to_string(columns) + "]";
    header += (begin == 0 ? "" : ",") + tensor_text("model." + name + ".weight", "F32", shape, begin, end);
  };
  add("embed_tokens", vocab_size, hidden_size);
  add("norm", hidden_size, 1);
  const std::string layer = "layers.0.";
  for (const char* name : {"input_layernorm", "post_attention_layernorm"}) add(layer + name, hidden_size, 1);
  for (const char* name :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"}) {
    add(layer + name, 2, hidden_size);
  }
  for (const char* name : {"self_attn.o_proj", "mlp.down_proj"}) add(layer + name, hidden_size, 2);
  header += "}";
  const std::filesystem::path file = folder.write("model.safetensors", with_length(header.size(), header));
  std::error_code error;
  std::filesystem::resize_file(file, 8 + header.size() + end, error);
  return !error;
}

}  // namespace cria
