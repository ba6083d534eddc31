// The merge loop against its definition, and the tokenizer's small questions and options.
#include <map>

#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

/// Byte pair encoding as it is defined: again and again, the pair of lowest rank, the leftmost first.
std::vector<std::string> merge_slowly(std::vector<std::string> symbols,
                                      const std::map<std::pair<std::string, std::string>, size_t>& ranks) {
  while (true) {
    size_t best = SIZE_MAX;
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rank = ranks.find({symbols[i], symbols[i + 1]});
      if (rank == ranks.end() || rank->second >= best) continue;
      best = rank->second;
      place = i;
    }
    if (best == SIZE_MAX) return symbols;
    symbols[place] += symbols[place + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    // A random vocabulary over three letters, whose merges are in random order and partly meet.
    std::vector<std::string> tokens = {"a", "b", "c"};
    Json file = tiny_tokenizer();
    file["normalizer"] = nullptr;
    file["model"]["merges"] = Json::array();
    std::map<std::pair<std::string, std::string>, size_t> ranks;
    Json merges = Json::array();
    for (int i = 0; i < 40; ++i) {
      const std::pair pair(tokens[random() % tokens.size()], tokens[random() % tokens.size()]);
      if (pair.first.size() + pair.second.size() > 9 || !ranks.emplace(pair, ranks.size()).second) continue;
      merges.push_back(i % 2 == 0 ? Json(pair.first + " " + pair.second) : Json::array({pair.first, pair.second}));
      tokens.push_back(pair.first + pair.second);
    }
    Json& vocabulary = file["model"]["vocab"];
    for (const std::string& token : tokens) {
      if (!vocabulary.contains(token)) vocabulary[token] = 300 + vocabulary.size();
    }
    file["model"]["merges"] = merges;
    const auto tokenizer = tokenizer_of(file).value();
    for (int length = 1; length < 60; ++length) {
      std::string text;
      std::vector<std::string> letters;
      for (int i = 0; i < length; ++i) letters.emplace_back(1, static_cast<char>('a' + random() % 3));
      for (const std::string& letter : letters) text += letter;
      std::vector<std::string> got;
      const std::vector<TokenId> ids = tokenizer.encode(text, {.add_special_tokens = false}).value();
      for (const TokenId id : ids) got.emplace_back(tokenizer.id_to_token(id).value());
      ASSERT_EQ(got, merge_slowly(letters, ranks)) << text;
    }
  }
}

TEST(Tokenizer, AnswersAboutItsVocabulary) {
  Json file = tiny_tokenizer();
  file["added_tokens"].push_back({{"id", 500}, {"content", "<tool>"}, {"special", false}});
  const auto tokenizer =
      tokenizer_of(file, R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})").value();
  EXPECT_EQ(tokenizer.vocab_size(), 501U);
  EXPECT_EQ(tokenizer.token_to_id("abc"), 265U);
  EXPECT_EQ(tokenizer.token_to_id("<tool>"), 500U);
  EXPECT_EQ(tokenizer.token_to_id("zz"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(265), "abc");
  EXPECT_EQ(tokenizer.id_to_token(500), "<tool>");
  EXPECT_EQ(tokenizer.id_to_token(499), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(500));
  EXPECT_FALSE(tokenizer.is_special(265));
  EXPECT_EQ(tokenizer.bos_token(), 1U);
  EXPECT_EQ(tokenizer.eos_token(), 2U);
}

TEST(Tokenizer, WithoutSettingsHasNoBosAndEos) {
  for (const char* settings : {"", "{}", R"({"bos_token": null, "eos_token": "<nowhere>"})"}) {
    const auto tokenizer = tokenizer_of(tiny_tokenizer(), settings).value();
    EXPECT_EQ(tokenizer.bos_token(), std::nullopt);
    EXPECT_EQ(tokenizer.eos_token(), std::nullopt);
  }
}

TEST(Tokenizer, ParsesSpecialTokensOnlyWhereAsked) {
  Json file = tiny_tokenizer();
  file["added_tokens"].push_back({{"id", 500}, {"content", "<tool>"}, {"special", false}});
  const auto tokenizer = tokenizer_of(file).value();
  const auto encode = [&](bool parse) {
    return tokenizer.encode("<s><tool>", {.add_special_tokens = false, .parse_special_tokens = parse}).value();
  };
  EXPECT_EQ(encode(true), (std::vector<TokenId>{1, 500}));
  const auto byte = [](char value) { return static_cast<TokenId>(3 + value); };
  EXPECT_EQ(encode(false), (std::vector<TokenId>{259, byte('<'), byte('s'), byte('>'), 500})) << "as Hugging Face does";
}

TEST(Tokenizer, RefusesTextsOverItsLimit) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer()).value();
  const auto ids = tokenizer.encode(std::string((size_t{16} << 20) + 1, 'a'));
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().message(), "the text has 16,777,217 bytes, the limit is 16,777,216");
}

}  // namespace
}  // namespace cria::text
