// Texts and ids to tokenizers of every kind, and what comes back.
//
// The first byte picks the tokenizer, the second how texts are encoded. The rest is taken as a text, and then as ids of
// two bytes each.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tokenizer_laws.h"

namespace cria::fuzz {
namespace {

namespace fs = std::filesystem;

struct Loaded {
  text::Tokenizer tokenizer;
  bool keeps_texts = false;  ///< every byte has a token, and nothing is changed before
};

std::string text_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The golden tests' tokenizers, by name, and the one of the model that comes with Cria.
const std::vector<Loaded>& tokenizers() {
  static const std::vector<Loaded> all = [] {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(CRIA_SOURCE_DIR "/tests/golden/tokenizers")) {
      folders.push_back(entry.path());
    }
    std::ranges::sort(folders);
    folders.emplace_back(CRIA_SOURCE_DIR "/models/cria-stories-11m");
    std::vector<Loaded> list;
    for (const fs::path& folder : folders) {
      const std::string json = text_of_file(folder / "tokenizer.json");
      const Json file = parse_json(json, "tokenizer.json").value();
      const bool is_plain = file.at("decoder").dump().find("ByteLevel") != std::string::npos &&
                            file.at("normalizer").is_null() &&
                            file.at("pre_tokenizer").dump().find("\"add_prefix_space\":true") == std::string::npos;
      list.push_back({text::Tokenizer::from_json(json, "", folder.string()).value(), is_plain});
    }
    CRIA_CHECK(std::ranges::any_of(list, &Loaded::keeps_texts));
    return list;
  }();
  return all;
}

}  // namespace

CRIA_FUZZ_TARGET(tokenizer_text, 1024) {
  const Loaded& loaded = tokenizers()[take_byte(input) % tokenizers().size()];
  const unsigned flags = take_byte(input);
  const text::EncodeOptions options = {.add_special_tokens = (flags & 1U) != 0,
                                       .parse_special_tokens = (flags & 2U) != 0};
  const std::vector<text::TokenId> tokens = check_encoding(loaded.tokenizer, input, options);
  if (loaded.keeps_texts && flags % 4 == 0 && !tokens.empty()) {
    CRIA_CHECK(loaded.tokenizer.decode(tokens, false) == std::string(input));
  }
  std::vector<text::TokenId> ids;
  while (input.size() > 1) {
    const unsigned low = take_byte(input);
    ids.push_back(low | take_byte(input) << 8U);
    if (flags % 8 < 4) ids.back() %= static_cast<text::TokenId>(loaded.tokenizer.vocab_size());
  }
  check_decoding(loaded.tokenizer, ids);
}

}  // namespace cria::fuzz
