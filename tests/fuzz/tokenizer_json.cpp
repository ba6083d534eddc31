// tokenizer.json, tokenizer_config.json and a text, with a NUL between them: what is accepted encodes every text.
#include "tokenizer_laws.h"

CRIA_FUZZ_TARGET(tokenizer_json, 8192) {
  using namespace cria;
  const std::string_view json = fuzz::take_until(input, '\0');
  const std::string_view settings = fuzz::take_until(input, '\0');
  const auto tokenizer = text::Tokenizer::from_json(json, settings, "tokenizer.json");
  if (!fuzz::is_sound(tokenizer)) return;
  CRIA_CHECK(!tokenizer->bos_token() || tokenizer->id_to_token(*tokenizer->bos_token()));
  for (const bool parses : {false, true}) {
    fuzz::check_encoding(*tokenizer, input, {.parse_special_tokens = parses});
  }
  fuzz::check_encoding(*tokenizer, " a<s>\u2581\u00e9 12!\n", {});
  std::vector<text::TokenId> all;
  for (text::TokenId id = 0; id < tokenizer->vocab_size() && id < 64; ++id) {
    if (tokenizer->id_to_token(id)) all.push_back(id);
  }
  fuzz::check_decoding(*tokenizer, all);
}
