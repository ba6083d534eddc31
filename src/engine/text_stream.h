// The text of an answer on its way out: tokens to whole characters, and the texts that end it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace cria::engine {

/// Where one of `stops` first stands in `text`, or npos; for a text's end that may become one, how long that is.
struct StopMatch {
  size_t at = std::string_view::npos;
  size_t held_back = 0;  ///< bytes at the end that begin a stop text
};
[[nodiscard]] StopMatch find_stop(std::string_view text, const std::vector<std::string>& stops);

class TextStream {
 public:
  /// `stops` are not empty texts; the tokenizer must outlive the stream.
  TextStream(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
      : decoder_(tokenizer, /*skip_special_tokens=*/true), stops_(std::move(stops)) {}

  /// Takes tokens that stand before the answer into account: where it goes on in a word, for instance.
  Status pass(const std::vector<text::TokenId>& tokens);

  /// The text that is certain with this token: whole characters, without what may become a stop text.
  /// Errors: kInvalidInput for an id outside the vocabulary.
  Result<std::string> push(text::TokenId token);
  /// Goes on with a text that stands for a token, a special one that has no text of its own.
  std::string show(std::string_view text);
  /// What was held back; nothing where a stop text was found.
  std::string finish();

  /// A stop text was found: neither it nor what follows is given out.
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  std::string take(const std::string& piece);

  text::StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace cria::engine
