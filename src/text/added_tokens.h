// Tokens that are found in the text as they stand, before the merges: <s>, <|im_start|> and the like.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/bpe.h"
#include "text/token_finder.h"

namespace cria::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the blanks before it
  bool rstrip = false;       ///< takes the blanks after it
  bool normalized = false;   ///< looked for in the normalised text
  bool special = false;
};

/// Errors: kInvalidInput for entries of the wrong form, ids out of range, and ids or contents that appear twice.
Result<std::vector<AddedToken>> parse_added_tokens(const Json& list, std::string_view name);

/// A stretch of text that is one token, or that lies between tokens.
struct Segment {
  std::string_view text;
  std::optional<TokenId> token;
};

/// Cuts texts at added tokens, by the rules of each.
class TokenSplitter {
 public:
  struct Entry {
    AddedToken token;
    std::string spelling;  ///< what to look for: the content, or its normalised form; not empty
  };
  TokenSplitter() = default;
  /// Errors: kInvalidInput for two tokens with one spelling.
  static Result<TokenSplitter> create(std::vector<Entry> entries, std::string_view name);

  /// Cuts a text (valid UTF-8) into tokens and what lies between; special tokens count as plain text
  /// where `find_special` is false. Linear.
  [[nodiscard]] std::vector<Segment> split(std::string_view text, bool find_special) const;

 private:
  std::vector<AddedToken> tokens_;
  std::vector<size_t> lengths_;  // of the spellings
  TokenFinder finder_;
};

}  // namespace cria::text
