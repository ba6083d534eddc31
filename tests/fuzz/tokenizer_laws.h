// What holds for every tokenizer, whatever its file says and whatever the text.
#pragma once

#include <string>
#include <vector>

#include "fuzz_target.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace cria::fuzz {

/// Token by token gives the text that all at once give: whole characters, always.
inline void check_decoding(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids) {
  for (const bool skip_special : {false, true}) {
    const auto whole = tokenizer.decode(ids, skip_special);
    if (!is_sound(whole)) continue;
    CRIA_CHECK(!text::find_invalid_utf8(*whole));
    text::StreamDecoder stream(tokenizer, skip_special);
    std::string joined;
    for (const text::TokenId id : ids) {
      const auto piece = stream.push(id);
      CRIA_CHECK(piece && !text::find_invalid_utf8(*piece));
      joined += *piece;
    }
    CRIA_CHECK(joined + stream.finish() == *whole);
  }
}

/// Every text of valid UTF-8 has tokens, all of them in the vocabulary. Returns them.
inline std::vector<text::TokenId> check_encoding(const text::Tokenizer& tokenizer, std::string_view text,
                                                 text::EncodeOptions options) {
  const auto ids = tokenizer.encode(text, options);
  CRIA_CHECK(is_sound(ids) != text::find_invalid_utf8(text).has_value());
  if (!ids) return {};
  for (const text::TokenId id : *ids) {
    CRIA_CHECK(id < tokenizer.vocab_size() && tokenizer.id_to_token(id) && tokenizer.token_bytes(id));
  }
  check_decoding(tokenizer, *ids);
  return *ids;
}

}  // namespace cria::fuzz
