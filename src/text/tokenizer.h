// Tokenizers from Hugging Face's tokenizer.json: text to token ids and back.
//
// The steps of encoding: added tokens are found in the raw text; what lies between is normalised, added
// tokens are found in the normalised text, the rest is cut into pieces and merged; at the end the
// template adds special tokens. The file is taken for hostile: everything is checked, and what is not
// supported is refused by name. "truncation" and "padding" are not looked at: texts are encoded whole.
// Source: what Hugging Face's tokenizers 0.23 do, which the golden tests compare with token by token.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/template.h"

namespace cria::text {

struct EncodeOptions {
  bool add_special_tokens = true;  ///< those of the template, <s> for instance
  /// "<s>" in the text becomes the token. Where false, special tokens are text like any other; added tokens
  /// that are not special are found all the same.
  bool parse_special_tokens = true;
};

/// Immutable once read, so that threads may share it.
class Tokenizer {
 public:
  /// From the text of tokenizer.json and of tokenizer_config.json (may be empty). `name` begins messages.
  /// Errors: kInvalidInput, kUnsupported.
  static Result<Tokenizer> from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                     std::string_view name);

  /// The same from a parsed tokenizer.json.
  static Result<Tokenizer> from_document(const Json& tokenizer_json, std::string_view tokenizer_config_json,
                                         std::string_view name);

  /// Errors: kInvalidInput where the text is not valid UTF-8, with the offset of the first bad byte, or
  /// longer than 16 MiB. Time is O(n log n), whatever the text.
  Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  /// The bytes that a token stands for in the middle of a text: perhaps part of a character. Special tokens are
  /// spelled. Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> token_bytes(TokenId id) const;

  /// The largest id + 1, added tokens included.
  [[nodiscard]] size_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] std::optional<TokenId> token_to_id(std::string_view token) const;
  /// The spelling in the vocabulary; for an added token, its content. Valid as long as the tokenizer.
  [[nodiscard]] std::optional<std::string_view> id_to_token(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> bos_token() const { return bos_token_; }
  [[nodiscard]] std::optional<TokenId> eos_token() const { return eos_token_; }

 private:
  friend class StreamDecoder;
  struct Added {
    std::string content;
    std::string spelling;  ///< when decoding
    bool special = false;  ///< marked special in the file
    bool skipped = false;  ///< left out when special tokens are skipped
  };

  Status read_added(const Json& list, std::string_view name);
  Status read_settings(std::string_view tokenizer_config_json, std::string_view name);
  void encode_plain(std::string_view text, bool is_first, bool find_special, Bpe::Scratch& scratch,
                    std::vector<TokenId>& ids) const;
  [[nodiscard]] const Added* added(TokenId id) const;
  [[nodiscard]] Result<std::string_view> spelling(TokenId id) const;

  Normalizer normalizer_;
  PreTokenizer pretokenizer_;
  Bpe bpe_;
  DecoderRules decoder_;
  std::unordered_map<TokenId, Added> added_;
  std::unordered_map<std::string, TokenId> added_ids_;
  size_t vocab_size_ = 0;
  TokenSplitter raw_splitter_, normalized_splitter_;
  Template template_;
  std::optional<TokenId> bos_token_, eos_token_;
};

/// Decodes one token at a time. What it returns is always whole UTF-8 characters, and all of it together is
/// Tokenizer::decode of the ids. Each token takes time linear in itself. Text waits only where later tokens
/// could change it: a begun character, or a run of <0xXX> tokens (see TextBuilder).
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), builder_(tokenizer.decoder_), skip_special_tokens_(skip_special_tokens) {}

  /// The text that is complete after this token. Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> push(TokenId id);
  /// What is left at the end; bytes that are no characters become U+FFFD. The decoder begins anew.
  std::string finish() { return builder_.finish(); }
  /// What is left where the text pauses, in whole characters; the text goes on with the next token.
  std::string pause() { return builder_.pause(); }

 private:
  const Tokenizer* tokenizer_;
  TextBuilder builder_;
  bool skip_special_tokens_;
};

}  // namespace cria::text
