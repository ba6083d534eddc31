// A tokenizer.json as the metadata of a GGUF file: the other way round of gguf_tokenizer.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

/// What goes into "tokenizer.ggml.*".
struct GgufVocabulary {
  std::string model;                ///< "llama" or "gpt2"
  std::string pre;                  ///< "default" with "llama"
  std::vector<std::string> tokens;  ///< by id; ids that no token has are "[PAD…]"
  std::vector<float> scores;        ///< "llama" only
  std::vector<int32_t> types;       ///< GgufTokenType
  std::vector<std::string> merges;  ///< "gpt2" only
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;
};

/// Translates the text of tokenizer.json for a model of `vocab_size` tokens. A pair of tokens merges by the token's
/// score in a "llama" vocabulary, whatever pair it is; where tokenizer.json lists fewer pairs, other programs may cut
/// some words in another way (Cria reads the tokenizer.json that stands beside it in the file). Errors: kInvalidInput,
/// kUnsupported.
Result<GgufVocabulary> gguf_vocabulary(std::string_view tokenizer_json, uint32_t vocab_size, std::string_view name);

}  // namespace cria::text
