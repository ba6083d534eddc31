// Tokenizers of GGUF files give the ids that the same model's tokenizer.json gives, and what is wrong is refused.
#include "text/gguf_tokenizer.h"

#include <sstream>

#include "text/gguf_export.h"
#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

/// Metadata whose texts live as long as the vocabulary.
GgufTokenizer described(const GgufVocabulary& vocabulary) {
  GgufTokenizer gguf;
  gguf.model = vocabulary.model;
  gguf.pre = vocabulary.pre;
  gguf.tokens.assign(vocabulary.tokens.begin(), vocabulary.tokens.end());
  gguf.scores = vocabulary.scores;
  for (const int32_t type : vocabulary.types) gguf.types.push_back(static_cast<uint64_t>(type));
  gguf.merges.assign(vocabulary.merges.begin(), vocabulary.merges.end());
  gguf.add_bos = vocabulary.add_bos;
  gguf.add_eos = vocabulary.add_eos;
  gguf.add_space_prefix = vocabulary.add_space_prefix;
  return gguf;
}

Result<Tokenizer> from_gguf(const GgufTokenizer& gguf) {
  CRIA_TRY_ASSIGN(const TokenizerFiles files, tokenizer_of_gguf(gguf, "x.gguf"));
  return Tokenizer::from_document(files.tokenizer, files.tokenizer_config, "x.gguf");
}

class GgufTokenizers : public testing::TestWithParam<const char*> {};

TEST_P(GgufTokenizers, GiveTheIdsOfTokenizerJson) {
  const auto folders = fixture_dirs("tokenizers");
  const auto folder =
      std::find_if(folders.begin(), folders.end(), [](const auto& path) { return path.filename() == GetParam(); });
  if (folder == folders.end()) GTEST_SKIP() << "no fixture " << GetParam() << ", see tests/fixtures.h";
  const std::string text = read_file(*folder / "tokenizer.json");
  const auto original = Tokenizer::from_json(text, "", "tokenizer.json").value();
  const auto vocabulary = gguf_vocabulary(text, static_cast<uint32_t>(original.vocab_size()), "tokenizer.json");
  ASSERT_TRUE(vocabulary) << vocabulary.error().message();
  GgufTokenizer gguf = described(*vocabulary);
  if (vocabulary->add_bos) gguf.bos = original.encode("a").value().front();
  const auto tokenizer = from_gguf(gguf);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  EXPECT_EQ(tokenizer->vocab_size(), original.vocab_size());
  std::istringstream file(read_file(*folder / "golden.jsonl"));
  size_t compared = 0;
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line);
    const auto input = json.at("text").get<std::string>();
    // GGUF does not say whether a special token is looked for before or after normalisation.
    if (input.find("<s>") != std::string::npos || input.find("</s>") != std::string::npos) continue;
    ++compared;
    EXPECT_EQ(tokenizer->encode(input).value(), json.at("ids").get<std::vector<TokenId>>()) << line;
    EXPECT_EQ(tokenizer->decode(json.at("ids_no_special").get<std::vector<TokenId>>(), false).value(),
              json.at("decoded").get<std::string>());
    if (HasFailure()) break;  // one line says enough
  }
  EXPECT_GT(compared, 100U);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GgufTokenizers,
                         testing::Values("llama2", "llama3", "qwen2-style", "gpt2-style", "qwen2-style-400",
                                         "gpt2-style-400"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// <unk> <s> </s>, <0x00> to <0xFF>, then from 259 on the tokens of a tiny SentencePiece vocabulary.
struct Tiny {
  std::vector<std::string> names = {"<unk>", "<s>", "</s>"};
  GgufTokenizer gguf;
  Tiny() {
    for (int byte = 0; byte < 256; ++byte) names.push_back(fmt::format("<0x{:02X}>", byte));
    for (const char* piece : {"\u2581", "a", "b", "c", "ab", "bc", "\u2581a", "<user>"}) names.emplace_back(piece);
    gguf.model = "llama";
    gguf.tokens.assign(names.begin(), names.end());
    gguf.scores.assign(names.size(), -10);
    gguf.types.assign(names.size(), 1);
    for (size_t id = 3; id < 259; ++id) gguf.types[id] = 6;
    gguf.types[0] = 2;
    gguf.types[1] = gguf.types[2] = 3;
    gguf.types.back() = 4;
    gguf.scores[263] = -2;  // ab
    gguf.scores[264] = -1;  // bc
    gguf.scores[265] = -3;  // _a
    gguf.bos = 1;
    gguf.eos = 2;
    gguf.unknown = 0;
  }
};

using Ids = std::vector<TokenId>;

TEST(GgufTokenizer, MergesTheHighestScoreFirst) {
  const Tiny tiny;
  const auto tokenizer = from_gguf(tiny.gguf);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  EXPECT_EQ(tokenizer->encode("abc").value(), (Ids{1, 265, 264}));  // bc before _a, and ab never
  EXPECT_EQ(tokenizer->encode("ab").value(), (Ids{1, 259, 263}));   // ab before _a
  EXPECT_EQ(tokenizer->encode("\xC3\xA9").value(), (Ids{1, 259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(tokenizer->encode("a<user>b</s>").value(), (Ids{1, 265, 266, 259, 261, 2}));
  EXPECT_EQ(tokenizer->encode("</s>", {.parse_special_tokens = false}).value().back(), 3U + '>');
  EXPECT_EQ(tokenizer->decode(Ids{1, 265, 264}, true).value(), "abc");
  EXPECT_EQ(tokenizer->bos_token(), 1U);
  EXPECT_EQ(tokenizer->eos_token(), 2U);
}

TEST(GgufTokenizer, ObeysItsSettings) {
  Tiny tiny;
  tiny.gguf.add_bos = false;
  tiny.gguf.add_eos = true;
  tiny.gguf.add_space_prefix = false;
  const auto tokenizer = from_gguf(tiny.gguf);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  EXPECT_EQ(tokenizer->encode("a b").value(), (Ids{260, 259, 261, 2}));
  EXPECT_EQ(tokenizer->decode(Ids{259, 260}, true).value(), " a");
}

TEST(GgufTokenizer, KnowsThePreTokenizersByName) {
  GgufTokenizer gguf;
  gguf.model = "gpt2";
  std::vector<std::string> names;
  for (int byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    names.push_back(spell_bytes({&value, 1}));
  }
  for (const char* merged : {"12", "123", "1234", "Ab", "ABc", "--", "x-", "bC"}) names.emplace_back(merged);
  gguf.tokens.assign(names.begin(), names.end());
  gguf.merges = {"1 2", "12 3", "123 4", "A b", "- -", "x -", "b C"};
  const auto tokens = [&](std::string_view pre, std::string_view text) -> std::vector<std::string> {
    gguf.pre = pre;
    const auto tokenizer = from_gguf(gguf);
    EXPECT_TRUE(tokenizer) << tokenizer.error().message();
    std::vector<std::string> list;
    const std::vector<TokenId> ids = tokenizer->encode(text).value();
    for (const TokenId id : ids) list.emplace_back(*tokenizer->id_to_token(id));
    return list;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(tokens("gpt-2", "1234"), (Words{"1234"}));
  EXPECT_EQ(tokens("llama-bpe", "1234"), (Words{"123", "4"}));
  EXPECT_EQ(tokens("qwen2", "12"), (Words{"1", "2"}));
  EXPECT_EQ(tokens("smollm", "12"), (Words{"1", "2"}));
  EXPECT_EQ(tokens("default", "1234x-"), (Words{"123", "4", "x", "-"}));
  EXPECT_EQ(tokens("tekken", "12AbC"), (Words{"1", "2", "Ab", "C"}));  // Ab | C: a capital begins a word
  EXPECT_EQ(tokens("gpt-2", "AbC"), (Words{"Ab", "C"}));
  EXPECT_EQ(tokens("tekken", "bC"), (Words{"b", "C"}));
  EXPECT_EQ(tokens("gpt-2", "bC"), (Words{"bC"}));
  gguf.pre = "made-up";
  const auto unknown = from_gguf(gguf);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message(),
            "x.gguf: the pre-tokenizer \"made-up\" (\"tokenizer.ggml.pre\") is not supported");
}

/// Mistral Nemo's pattern, on words that its alternatives cut differently.
TEST(GgufTokenizer, TekkenCutsWordsByCase) {
  const auto pieces = [](std::string_view text) {
    std::vector<std::string> list;
    for (size_t at = 0; at < text.size();) {
      const size_t end = scan_piece(Pattern::kTekken, text, at);
      list.emplace_back(text.substr(at, end - at));
      at = end;
    }
    return list;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(pieces("HelloWorld"), (Words{"Hello", "World"}));
  EXPECT_EQ(pieces("HTTPServer x"), (Words{"HTTPServer", " x"}));
  EXPECT_EQ(pieces("ABC"), (Words{"ABC"}));
  EXPECT_EQ(pieces("aBC12"), (Words{"a", "BC", "1", "2"}));
  EXPECT_EQ(pieces("A\u4E2DB"), (Words{"A\u4E2D", "B"}));  // a letter without case ends the first form
  EXPECT_EQ(pieces(" don't"), (Words{" don", "'t"}));
  EXPECT_EQ(pieces("a/b//\n c"), (Words{"a", "/b", "//\n", " c"}));
  EXPECT_EQ(pieces("x  \n  y"), (Words{"x", "  \n", " ", " y"}));
  EXPECT_EQ(pieces("e\u0301A\u0301"), (Words{"e\u0301", "A\u0301"}));
}

void expect_refused(const GgufTokenizer& gguf, std::string_view phrase) {
  const auto tokenizer = from_gguf(gguf);
  ASSERT_FALSE(tokenizer) << "accepted, but should say: " << phrase;
  EXPECT_NE(tokenizer.error().message().find(phrase), std::string::npos) << tokenizer.error().message();
}

TEST(GgufTokenizer, WhatIsWrongIsRefused) {
  const auto with = [](auto change, std::string_view phrase) {
    Tiny tiny;
    change(tiny.gguf);
    SCOPED_TRACE(phrase);
    expect_refused(tiny.gguf, phrase);
  };
  with([](auto& g) { g.model = "bert"; }, "the tokenizer \"bert\" is not supported; llama and gpt2 are");
  with([](auto& g) { g.tokens.clear(); }, "\"tokenizer.ggml.tokens\" is missing, or has not 1 to");
  with([](auto& g) { g.scores.pop_back(); }, "\"tokenizer.ggml.scores\" has 266 elements, but there are 267 tokens");
  with([](auto& g) { g.types.push_back(1); }, "\"tokenizer.ggml.token_type\" has 268 elements");
  with([](auto& g) { g.types[5] = 7; }, "the token 5 has the unknown type 7");
  with([](auto& g) { g.types[5] = UINT32_MAX; }, "the token 5 has the unknown type 4294967295");
  for (const char* odd : {"<0x-1>", "<0xGG>", "<0xa0>", "<0x000>", "0x00"}) {
    with([&](auto& g) { g.tokens[5] = odd; }, "but of the type of bytes, which are <0x00> to <0xFF>");
  }
  with([](auto& g) { g.tokens[260] = "\xFF"; }, "the token 260 is not valid UTF-8 at its byte 0");
  with([](auto& g) { g.tokens[261] = "a"; }, "the token 261 is \"a\", as one before it");
  for (const uint64_t id : {uint64_t{267}, uint64_t{UINT32_MAX}}) {
    with([&](auto& g) { g.bos = id; }, "\"tokenizer.ggml.bos_token_id\" is ");
    with([&](auto& g) { g.eos = id; }, "not a token below 267");
    with([&](auto& g) { g.unknown = id; }, "\"tokenizer.ggml.unknown_token_id\" is ");
  }
  const std::string longest(129, 'a');
  with([&](auto& g) { g.tokens[260] = longest; }, "the token 260 has 129 bytes, more than 128");
}

TEST(GgufTokenizer, BigVocabulariesTakeLittleTime) {
  std::vector<std::string> names;
  for (int i = 0; i < 14'000; ++i) names.push_back(fmt::format("{:0>128}", i));  // 1.8 MB of tokens
  GgufTokenizer gguf;
  gguf.model = "llama";
  gguf.tokens.assign(names.begin(), names.end());
  gguf.scores.assign(names.size(), 0);
  const double seconds = seconds_of([&] { EXPECT_TRUE(from_gguf(gguf)); });
  EXPECT_LT(seconds, 0.25 * kSlowBuild);
}

}  // namespace
}  // namespace cria::text
