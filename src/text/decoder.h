// From tokens back to text, whole or one token at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

/// The "decoder" of tokenizer.json, reduced to what the supported kinds do.
struct DecoderRules {
  struct Replacement {
    std::string pattern, content;
  };
  bool byte_level = false;                ///< tokens are spelled in the byte alphabet
  std::vector<Replacement> replacements;  ///< in each token
  bool byte_fallback = false;             ///< <0xXX> tokens are bytes
  char strip_content = 0;                 ///< taken from the begin of the text, up to …
  uint32_t strip_count = 0;               ///< … this many times
  bool join_with_spaces = false;          ///< no decoder: tokens are joined with spaces

  /// Errors: kUnsupported naming the decoder's type, or an order of steps that is not known.
  static Result<DecoderRules> from_json(const Json& decoder, std::string_view name);
};

/// Turns spelled tokens into text. Text comes out as soon as it is certain, whole characters only.
class TextBuilder {
 public:
  explicit TextBuilder(const DecoderRules& rules) : rules_(&rules) {}

  /// Adds a token as it is spelled in the vocabulary; returns the text that is now complete.
  std::string push(std::string_view spelling);
  /// The rest; bytes that are no characters become U+FFFD.
  std::string finish();

 private:
  [[nodiscard]] std::string strip(std::string text);
  std::string push_byte_level(std::string_view spelling);

  const DecoderRules* rules_;
  std::string pending_;  ///< bytes that do not make whole characters yet
  uint32_t stripped_ = 0;
  bool began_ = false;
};

/// Decodes all tokens at once. Unlike TextBuilder, which shows characters as they are completed, a run of
/// byte tokens with one bad byte becomes U+FFFD throughout, as in Hugging Face's tokenizers.
[[nodiscard]] std::string decode_all(const DecoderRules& rules, const std::vector<std::string_view>& spellings);

}  // namespace cria::text
