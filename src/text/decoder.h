// From tokens back to text, one token at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/replacement.h"

namespace cria::text {

/// The "decoder" of tokenizer.json, reduced to what the supported kinds do, in this order.
struct DecoderRules {
  struct Step {
    Replacement replacement;
    bool drop_in_first = false;  ///< the text's first token loses the pattern instead (Metaspace)
  };
  bool byte_level = false;        ///< tokens are spelled in the byte alphabet
  std::vector<Step> steps;        ///< in each token
  bool byte_fallback = false;     ///< <0xXX> tokens are bytes
  char strip_content = 0;         ///< taken from the begin of the text, up to …
  uint32_t strip_count = 0;       ///< … this many times
  bool join_with_spaces = false;  ///< no decoder: tokens are joined with spaces

  /// Errors: kUnsupported naming the decoder's type, or an order of steps that is not known; kInvalidInput.
  static Result<DecoderRules> from_json(const Json& decoder, std::string_view name);
};

/// The bytes that a token stands for in the middle of a text, given its spelling: perhaps part of a character.
[[nodiscard]] std::string token_bytes(const DecoderRules& rules, std::string_view spelling);

/// Turns spelled tokens into text. Text comes out as soon as it is certain, and whole characters only.
///
/// Bytes spelled in the byte alphabet come out as characters are completed; bytes that are no characters
/// become one U+FFFD for each maximal wrong piece. A run of <0xXX> tokens is all or nothing, as in Hugging
/// Face's tokenizers: it is held back until it ends, and where it is not UTF-8, each of its bytes becomes
/// U+FFFD.
class TextBuilder {
 public:
  /// `rules` must outlive the builder.
  explicit TextBuilder(const DecoderRules& rules) : rules_(&rules) {}

  /// Adds a token as it is spelled in the vocabulary; returns the text that is now certain. Its time is
  /// linear in the token, whatever came before.
  std::string push(std::string_view spelling);
  /// The rest of the text; the builder begins anew.
  std::string finish();
  /// Ends what is held back where the text pauses: its whole characters, without one that has only begun.
  /// The text goes on: what comes next is not taken for its begin.
  std::string pause();

 private:
  [[nodiscard]] std::string strip(std::string text);
  std::string push_byte_level(std::string_view spelling);
  std::string push_fallback_byte(char byte);
  std::string end_fallback_run();

  const DecoderRules* rules_;
  std::string pending_;          ///< bytes held back
  size_t checked_ = 0;           ///< bytes of pending_ that are whole characters (fallback runs only)
  bool run_is_invalid_ = false;  ///< the present fallback run is known not to be UTF-8
  uint32_t stripped_ = 0;
  bool began_ = false;
};

}  // namespace cria::text
