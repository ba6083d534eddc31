// Shapes of well-known models, and shapes given by their dimensions: configurations without a config.json.
#pragma once

#include <span>
#include <string_view>

#include "model/config.h"

namespace cria::model {

/// A model's shape by name. `dimensions` is what parse_shape reads.
struct NamedShape {
  std::string_view name;
  std::string_view dimensions;
};

[[nodiscard]] std::span<const NamedShape> named_shapes();

/// Reads a shape: a name of named_shapes(), or `hidden=2048,layers=22,heads=32,kv_heads=4,intermediate=5632,
/// vocab=32000`, or a name and dimensions that differ (`llama-1.1b,layers=4`). Further keys: head_dim,
/// context (positions; 131,072 where it is not given), tied (1: the embedding is the output matrix too) and
/// family (llama, mistral, qwen2, qwen3).
/// Errors: kInvalidInput, naming the key and value; kUnsupported as parse_config.
Result<ModelConfig> parse_shape(std::string_view text);

}  // namespace cria::model
