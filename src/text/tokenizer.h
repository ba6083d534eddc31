// Tokenizers from Hugging Face's tokenizer.json: text to token ids and back.
//
// The steps of encoding: added tokens are found in the raw text; what lies between is normalised, added
// tokens are found in the normalised text, the rest is cut into pieces and merged; at the end the
// template adds special tokens. The file is taken for hostile: everything is checked, and what is not
// supported is refused by name.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"

namespace cria::text {

struct EncodeOptions {
  bool add_special_tokens = true;    ///< those of the template, <s> for instance
  bool parse_special_tokens = true;  ///< "<s>" in the text becomes the token
};

class Tokenizer {
 public:
  /// From the text of tokenizer.json and of tokenizer_config.json (may be empty). `name` begins messages.
  /// Errors: kInvalidInput, kUnsupported.
  static Result<Tokenizer> from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                     std::string_view name);

  /// Errors: kInvalidInput where the text is not valid UTF-8, with the offset of the first bad byte.
  Result<std::vector<TokenId>> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  /// The largest id + 1, added tokens included.
  [[nodiscard]] size_t vocab_size() const;
  [[nodiscard]] std::optional<TokenId> token_to_id(std::string_view token) const;
  /// The spelling in the vocabulary.
  [[nodiscard]] std::optional<std::string_view> id_to_token(TokenId id) const;
  [[nodiscard]] bool is_special(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> bos_token() const { return bos_token_; }
  [[nodiscard]] std::optional<TokenId> eos_token() const { return eos_token_; }

 private:
  friend class StreamDecoder;
  struct Shown {
    std::string spelling;  ///< of an added token, when decoding
    bool special = false;  ///< marked special in the file
    bool skipped = false;  ///< left out when special tokens are skipped
  };

  Status read_added(const Json& list, std::string_view name);
  Status read_template(const Json& processor, std::string_view name, int depth);
  Status read_special(const Json& item, const Json* definitions, std::string_view name);
  Status read_settings(std::string_view tokenizer_config_json, std::string_view name);
  void encode_plain(std::string_view text, bool is_first, const EncodeOptions& options,
                    std::vector<TokenId>& ids) const;
  /// How a token is spelled when decoding, or nothing for an id outside the vocabulary.
  [[nodiscard]] std::optional<std::string_view> shown(TokenId id) const;
  [[nodiscard]] bool is_skipped(TokenId id) const;

  Normalizer normalizer_;
  PreTokenizer pretokenizer_;
  Bpe bpe_;
  DecoderRules decoder_;
  std::map<TokenId, Shown> added_;
  std::map<std::string, TokenId, std::less<>> added_ids_;
  TokenFinder raw_finder_, normalized_finder_;
  std::vector<TokenId> prefix_, suffix_;  ///< of the template
  std::optional<TokenId> bos_token_, eos_token_;
};

/// Decodes one token at a time. What it returns is always whole UTF-8 characters; all of it together is
/// Tokenizer::decode of the ids, but for runs of byte tokens that hold bytes that are no characters.
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), builder_(tokenizer.decoder_), skip_special_tokens_(skip_special_tokens) {}

  /// The text that is complete after this token. Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> push(TokenId id);
  /// What is left at the end; bytes that are no characters become U+FFFD.
  std::string finish() { return builder_.finish(); }

 private:
  const Tokenizer* tokenizer_;
  TextBuilder builder_;
  bool skip_special_tokens_;
};

}  // namespace cria::text
