// Tokenizers from the metadata of GGUF files, as the tokenizer.json that gives the same ids.
//
// Two kinds: "llama", SentencePiece's BPE, where a pair of tokens merges if together they are a token, the highest
// score first; and "gpt2", byte-level BPE with a list of merges. One description of a tokenizer for both formats of
// files means one set of checks, one implementation, and that a GGUF file can be turned into a Hugging Face folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

/// What the metadata "tokenizer.ggml.*" say. The texts are views of the file, and not checked.
struct GgufTokenizer {
  std::string_view model;                ///< "llama" or "gpt2"
  std::optional<std::string_view> pre;   ///< name of the pre-tokenizer, with "gpt2"
  std::vector<std::string_view> tokens;  ///< by id
  std::vector<float> scores;             ///< by id, with "llama"
  std::vector<uint64_t> types;           ///< by id; empty: all normal
  std::vector<std::string_view> merges;  ///< "left right", with "gpt2"
  std::optional<uint64_t> bos, eos, unknown;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

/// Kinds of tokens, numbered as in the files.
enum class GgufTokenType : uint32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct TokenizerFiles {
  Json tokenizer;                ///< tokenizer.json
  std::string tokenizer_config;  ///< tokenizer_config.json
};

/// Errors: kUnsupported for other models and unknown pre-tokenizers, naming them; kInvalidInput for lists that do not
/// fit each other, tokens that are not UTF-8, byte tokens that name no byte, ids outside the vocabulary. `name` begins
/// messages. Time and memory are linear in the file.
Result<TokenizerFiles> tokenizer_of_gguf(const GgufTokenizer& gguf, std::string_view name);

/// The tokenizer_config.json: which tokens begin and end a text. Ids outside the vocabulary count as none.
std::string tokenizer_config_of_gguf(const GgufTokenizer& gguf);

}  // namespace cria::text
