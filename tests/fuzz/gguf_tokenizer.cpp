// A tokenizer's description in the metadata of a GGUF file, translated to tokenizer.json and used.
//
// The input is a form of the description in which changes by chance do not break the lengths of everything behind
// them: a line for each part, whose first byte says what it is (see `add_line`). Files as they are: model_folder.cpp.
#include "text/gguf_tokenizer.h"

#include <charconv>
#include <cmath>

#include "tokenizer_laws.h"

namespace cria::fuzz {
namespace {

uint64_t number_in(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

void add_token(std::string_view line, text::GgufTokenizer& gguf) {
  gguf.types.push_back(take_byte(line) - '0');
  gguf.scores.push_back(-static_cast<float>(gguf.tokens.size()));
  gguf.tokens.push_back(line);
}

void add_line(std::string_view line, text::GgufTokenizer& gguf) {
  switch (take_byte(line)) {
    case 'm': gguf.model = line; break;
    case 'p': gguf.pre = line; break;
    case 't': add_token(line, gguf); break;  // its type, a digit, and its text
    case 's':                                // a score for the token before
      if (!gguf.scores.empty()) gguf.scores.back() = static_cast<float>(number_in(line));
      break;
    case 'g': gguf.merges.push_back(line); break;
    case 'b': gguf.bos = number_in(line); break;
    case 'e': gguf.eos = number_in(line); break;
    case 'u': gguf.unknown = number_in(line); break;
    case 'B': gguf.add_bos = line == "1"; break;
    case 'E': gguf.add_eos = line == "1"; break;
    case 'S': gguf.add_space_prefix = line == "1"; break;
    case '-': gguf.types.clear(); break;
    default: break;
  }
}

}  // namespace

CRIA_FUZZ_TARGET(gguf_tokenizer, 4096) {
  text::GgufTokenizer gguf;
  while (!input.empty()) add_line(take_until(input, '\n'), gguf);
  const auto files = text::tokenizer_of_gguf(gguf, "file");
  if (!is_sound(files)) return;
  const auto tokenizer = text::Tokenizer::from_document(files->tokenizer, files->tokenizer_config, "file");
  if (!is_sound(tokenizer)) return;
  CRIA_CHECK(tokenizer->vocab_size() == gguf.tokens.size());
  std::string text = " Once <s>\u2581\u00e9 1234!\n\n";
  for (const std::string_view token : gguf.tokens) text += text.size() < 500 ? token : "";
  check_encoding(*tokenizer, text, {});
}

}  // namespace cria::fuzz
