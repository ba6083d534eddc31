// Metadata of a GGUF file as the config.json that would say the same; only gguf_*.cpp include this.
#pragma once

#include <string>

#include "base/json.h"
#include "formats/checkpoint.h"
#include "formats/gguf_value.h"

namespace cria::model {

/// An architecture that GGUF files may have.
struct GgufFamily {
  std::string_view name;        ///< "general.architecture"
  std::string_view class_name;  ///< in "architectures" of config.json
  std::string_view model_type;  ///< in config.json
  bool paired_rows;             ///< rows of queries and keys are stored in pairs, see TensorView
};

/// Errors: kInvalidInput where there is none, kUnsupported for another architecture.
Result<GgufFamily> gguf_family(const formats::GgufFields& fields);

/// Elements of one head. Errors: kInvalidInput, kUnsupported where RoPE turns only some of them.
Result<uint32_t> gguf_head_dim(const formats::GgufFields& fields, const GgufFamily& family);

/// The configuration; sizes are in range and fit each other. `checkpoint` tells the vocabulary's size and whether the
/// embedding is the output matrix. Errors: kInvalidInput, kUnsupported, naming the key.
Result<Json> gguf_config_json(const formats::GgufFields& fields, const GgufFamily& family,
                              const formats::Checkpoint& checkpoint);

/// Tokens that end a text or a turn: those that the metadata name, and control tokens with well-known spellings.
/// Errors: kInvalidInput for ids outside the vocabulary.
Result<std::vector<uint32_t>> gguf_end_tokens(const formats::GgufFields& fields, uint32_t vocab_size);

}  // namespace cria::model
