// Malformed and hostile tokenizer.json files: each is refused quickly, with a sentence that names the cause.
#include <functional>
#include <ostream>

#include "unit/text/tokenizer_files.h"

namespace cria::text {
namespace {

struct Mutation {
  const char* what;
  std::function<void(Json&)> apply;
  const char* phrase;  ///< what the message must hold
};
void PrintTo(const Mutation& mutation, std::ostream* out) { *out << mutation.what; }

Json nested(Json inner, const char* list, int depth) {
  while (depth-- > 0) inner = Json{{"type", "Sequence"}, {list, Json::array({inner})}};
  return inner;
}

/// A change that sets the place at a JSON pointer.
std::function<void(Json&)> set(const char* pointer, Json value) {
  return [=](Json& file) { file[Json::json_pointer(pointer)] = value; };
}
std::function<void(Json&)> erase(const char* key) {
  return [=](Json& file) { file.erase(key); };
}
/// A change that appends an added token.
std::function<void(Json&)> add(Json token) {
  return [=](Json& file) { file["added_tokens"].push_back(token); };
}

Json typed(const char* type) { return {{"type", type}}; }
Json replace(const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}
Json split(const char* regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}
Json merge_list(const char* left, const char* right) { return Json::array({Json::array({left, right})}); }

class HostileTokenizer : public testing::TestWithParam<Mutation> {};

TEST_P(HostileTokenizer, IsRefusedByName) {
  Json file = tiny_tokenizer();
  GetParam().apply(file);
  const std::string text = file.dump();
  EXPECT_LT(seconds_of([&] {
              const auto tokenizer = Tokenizer::from_json(text, "", "tokenizer.json");
              ASSERT_FALSE(tokenizer);
              const std::string message = tokenizer.error().message();
              EXPECT_TRUE(message.starts_with("tokenizer.json: ")) << message;
              EXPECT_NE(message.find(GetParam().phrase), std::string::npos) << message;
              EXPECT_LT(message.size(), 400U) << message;
            }),
            1.0 * kSlowBuild);
}

TEST(HostileTokenizers, TheUnchangedFileIsRead) {
  const auto tokenizer = tokenizer_of(tiny_tokenizer());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message();
}

INSTANTIATE_TEST_SUITE_P(
    Vocabulary, HostileTokenizer,
    testing::Values(
        Mutation{"empty", set("/model/vocab", Json::object()), "the vocabulary is empty"},
        Mutation{"list", set("/model/vocab", Json::array()), "\"vocab\" object"},
        Mutation{"no model", erase("model"), "\"model\" object"},
        Mutation{"model is a string", set("/model", "BPE"), "\"model\" object"},
        Mutation{"id 2^31", set("/model/vocab/a", 2147483648U), "id 2147483648"},
        Mutation{"id 10^8", set("/model/vocab/a", 100'000'000), "from 0 to 4,194,303"},
        Mutation{"id 2^64-1", set("/model/vocab/a", UINT64_MAX), "id 18446744073709551615"},
        Mutation{"negative id", set("/model/vocab/a", -1), "id -1"},
        Mutation{"fractional id", set("/model/vocab/a", 1.5), "id 1.5"},
        Mutation{"string id", set("/model/vocab/a", "7"), "id \"7\""},
        Mutation{"duplicated id", set("/model/vocab/a", 261), "have the same id 261"},
        Mutation{"merge of unknown", set("/model/merges", merge_list("a", "zz")), "not in the vocabulary"},
        Mutation{"merge to unknown", set("/model/merges", merge_list("b", "a")), "not in the vocabulary"},
        Mutation{"merge of three", set("/model/merges", Json::array({{"a", "b", "c"}})), "not in the vocabulary"},
        Mutation{"merge without blank", set("/model/merges", Json::array({"ab"})), "not in the vocabulary"},
        Mutation{"merge of numbers", set("/model/merges", Json::array({Json::array({1, 2})})), "not in the vocabulary"},
        Mutation{"merges an object", set("/model/merges", Json::object()), "\"merges\" list"},
        Mutation{"WordPiece", set("/model/type", "WordPiece"), "\"WordPiece\" is not supported"},
        Mutation{"Unigram", set("/model/type", "Unigram"), "\"Unigram\" is not supported"},
        Mutation{"type 7", set("/model/type", 7), "\"type\""},
        Mutation{"dropout", set("/model/dropout", 0.1), "dropout is not supported"},
        Mutation{"dropout a string", set("/model/dropout", "x"), "\"dropout\""},
        Mutation{"subword prefix", set("/model/continuing_subword_prefix", "##"), "\"continuing_subword_prefix\""},
        Mutation{"word suffix", set("/model/end_of_word_suffix", "</w>"), "\"end_of_word_suffix\""},
        Mutation{"byte_fallback 1", set("/model/byte_fallback", 1), "\"byte_fallback\""},
        Mutation{"unk_token a number", set("/model/unk_token", 0), "\"unk_token\""}));

INSTANTIATE_TEST_SUITE_P(
    AddedTokens, HostileTokenizer,
    testing::Values(
        Mutation{"object", set("/added_tokens", Json::object()), "\"added_tokens\" is not a list"},
        Mutation{"a string", add("<x>"), "an added token is not an object"},
        Mutation{"no id", add({{"content", "<x>"}}), "\"id\""},
        Mutation{"negative id", add({{"id", -1}, {"content", "<x>"}}), "\"id\""},
        Mutation{"id 2^31", add({{"id", 2147483648U}, {"content", "<x>"}}), "\"id\""},
        Mutation{"fractional id", add({{"id", 300.5}, {"content", "<x>"}}), "\"id\""},
        Mutation{"no content", add({{"id", 300}}), "no content"},
        Mutation{"empty content", add({{"id", 300}, {"content", ""}}), "no content"},
        Mutation{"long content", add({{"id", 300}, {"content", std::string(5000, 'x')}}), "no content of 1 to"},
        Mutation{"content a number", add({{"id", 300}, {"content", 1}}), "\"content\""},
        Mutation{"duplicated id", add({{"id", 1}, {"content", "<x>"}}), "two added tokens have the id 1"},
        Mutation{"duplicated content", add({{"id", 300}, {"content", "<s>"}}), "two added tokens are \"<s>\""},
        Mutation{"id of another token", add({{"id", 260}, {"content", "<x>"}}), "disagrees with the vocabulary"},
        Mutation{"other id of a token", add({{"id", 300}, {"content", "abc"}}), "disagrees with the vocabulary"},
        Mutation{"special a string", add({{"id", 300}, {"content", "<x>"}, {"special", "yes"}}), "\"special\""}));

INSTANTIATE_TEST_SUITE_P(
    Steps, HostileTokenizer,
    testing::Values(
        Mutation{"normalizer unknown", set("/normalizer", typed("Lowercase")), "\"Lowercase\" is not supported"},
        Mutation{"normalizer Precompiled", set("/normalizer", typed("Precompiled")),
                 "\"Precompiled\" is not supported"},
        Mutation{"normalizer a list", set("/normalizer", Json::array()), "normalizer is not an object"},
        Mutation{"normalizer without type", set("/normalizer", Json::object()), "\"(none)\" is not supported"},
        Mutation{"normalizer deep", set("/normalizer", nested(typed("NFC"), "normalizers", 20)), "nested deeper"},
        Mutation{"sequence without list", set("/normalizer", typed("Sequence")), "\"normalizers\" list"},
        Mutation{"Prepend without text", set("/normalizer", typed("Prepend")), "\"prepend\""},
        Mutation{"Replace without pattern", set("/normalizer", typed("Replace")), "\"pattern\""},
        Mutation{"Replace of nothing", set("/normalizer", replace("", "x")), "is not supported"},
        Mutation{"Replace that grows", set("/normalizer", replace("a", std::string(1000, 'a').c_str())),
                 "times longer"},
        Mutation{"Replaces that double",
                 [](Json& file) {
                   Json list = Json::array();
                   for (int i = 0; i < 10; ++i) list.push_back(replace("a", "aa"));
                   file["normalizer"] = {{"type", "Sequence"}, {"normalizers", list}};
                 },
                 "times longer"},
        Mutation{"many steps",
                 [](Json& file) {
                   file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(100'000, replace("a", "b"))}};
                 },
                 "more than 16 steps"},
        Mutation{"pre-tokenizer unknown", set("/pre_tokenizer", typed("Whitespace")),
                 "\"Whitespace\" is not supported"},
        Mutation{"pattern that backtracks", set("/pre_tokenizer", split("(a+)+$")), "(a+)+$"},
        Mutation{"pattern a String",
                 set("/pre_tokenizer",
                     {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Isolated"}, {"invert", false}}),
                 "Split"},
        Mutation{"Split removing",
                 set("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "x"}}}, {"behavior", "Removed"}}),
                 "Split"},
        Mutation{"pre-tokenizer deep", set("/pre_tokenizer", nested(typed("ByteLevel"), "pretokenizers", 20)),
                 "nested deeper"},
        Mutation{"many pre-tokenizers",
                 [](Json& file) {
                   file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(1000, typed("Metaspace"))}};
                 },
                 "more than 8 steps"},
        Mutation{
            "step after ByteLevel",
            set("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {typed("ByteLevel"), typed("Digits")}}}),
            "after ByteLevel"},
        Mutation{"Metaspace scheme", set("/pre_tokenizer", {{"type", "Metaspace"}, {"prepend_scheme", "last"}}),
                 "\"last\" is not supported"},
        Mutation{"decoder unknown", set("/decoder", typed("WordPiece")), "\"WordPiece\" is not supported"},
        Mutation{"decoder CTC", set("/decoder", typed("CTC")), "\"CTC\" is not supported"},
        Mutation{"decoder a number", set("/decoder", 5), "decoder is not an object"},
        Mutation{"decoder deep", set("/decoder", nested(typed("Fuse"), "decoders", 20)), "nested deeper"},
        Mutation{"decoder that grows", set("/decoder", replace("a", std::string(1000, 'a').c_str())), "times longer"},
        Mutation{"decoder order",
                 set("/decoder", {{"type", "Sequence"}, {"decoders", {typed("Fuse"), typed("ByteFallback")}}}),
                 "order"},
        Mutation{"Strip at the end",
                 set("/decoder/decoders/3", {{"type", "Strip"}, {"content", " "}, {"start", 0}, {"stop", 1}}),
                 "Strip"}));

INSTANTIATE_TEST_SUITE_P(
    PostProcessor, HostileTokenizer,
    testing::Values(
        Mutation{"Roberta", set("/post_processor", typed("RobertaProcessing")),
                 "\"RobertaProcessing\" is not supported"},
        Mutation{"Bert", set("/post_processor", typed("BertProcessing")), "\"BertProcessing\" is not supported"},
        Mutation{"a string", set("/post_processor", "x"), "post-processor is not an object"},
        Mutation{"deep", set("/post_processor", nested(typed("ByteLevel"), "processors", 20)), "nested deeper"},
        Mutation{"no single", [](Json& file) { file["post_processor"].erase("single"); }, "\"single\" list"},
        Mutation{"no text", set("/post_processor/single", Json::array()), "no place for the text"},
        Mutation{"text twice",
                 [](Json& file) {
                   auto& s = file["post_processor"]["single"];
                   s.push_back(s[1]);
                 },
                 "text A"},
        Mutation{"text B", set("/post_processor/single/1/Sequence/id", "B"), "text A"},
        Mutation{"undefined token", set("/post_processor/single/0/SpecialToken/id", "<x>"), "\"<x>\""},
        Mutation{"token a number", set("/post_processor/single/0/SpecialToken", 3), "special token without an \"id\""},
        Mutation{"unknown id", set("/post_processor/special_tokens/<s>/ids", Json::array({9999})), "id 9999"},
        Mutation{"negative id", set("/post_processor/special_tokens/<s>/ids", Json::array({-1})), "id -1"},
        Mutation{"id 2^40", set("/post_processor/special_tokens/<s>/ids", Json::array({1099511627776})),
                 "1099511627776"},
        Mutation{"ids a string", set("/post_processor/special_tokens/<s>/ids", "1"), "list of ids"},
        Mutation{"definitions a list", set("/post_processor/special_tokens", Json::array()), "list of ids"},
        Mutation{"two templates",
                 [](Json& file) {
                   const Json one = file["post_processor"];
                   file["post_processor"] = {{"type", "Sequence"}, {"processors", {one, one}}};
                 },
                 "more than one TemplateProcessing"}));

TEST(HostileTokenizers, TextsThatAreNoTokenizer) {
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"), std::string("{\"model\":"), std::string(1'000'000, '['),
        std::string("{\"a\":1,\"a\":2}"), std::string("\xff\xfe")}) {
    EXPECT_LT(seconds_of([&] {
                const auto tokenizer = Tokenizer::from_json(text, "", "tokenizer.json");
                ASSERT_FALSE(tokenizer) << text.substr(0, 20);
                EXPECT_TRUE(tokenizer.error().message().starts_with("tokenizer.json: ")) << tokenizer.error().message();
              }),
              1.0 * kSlowBuild);
  }
}

TEST(HostileTokenizers, SettingsOfTheWrongTypeAreRefused) {
  for (const char* settings :
       {"[]", "{\"bos_token\": 5}", "{\"eos_token\": [\"</s>\"]}", "{\"eos_token\": {\"content\": 1}}",
        "{\"bos_token\": \"<s>\", \"bos_token\": \"<s>\"}", "nonsense"}) {
    const auto tokenizer = tokenizer_of(tiny_tokenizer(), settings);
    ASSERT_FALSE(tokenizer) << settings;
    EXPECT_NE(tokenizer.error().message().find("tokenizer_config.json"), std::string::npos)
        << tokenizer.error().message();
  }
}

/// Every place of the file set to every wrong type, or removed: a value or an error, never a crash.
TEST(HostileTokenizers, AnyValueAnywhereIsAnsweredWithAResult) {
  const Json file = tiny_tokenizer();
  const Json values[] = {
      nullptr, true, -1, 1.5, UINT64_MAX, "x", "", Json::array(), Json::object(), {{"type", "Sequence"}}};
  const Json places = file.flatten();
  size_t refused = 0;
  for (const auto& [path, leaf] : places.items()) {
    if (path.starts_with("/model/vocab/<0x")) continue;
    for (Json::json_pointer place(path); !place.empty(); place = place.parent_pointer()) {
      for (const Json& value : values) {
        Json changed = file;
        changed[place] = value;
        const auto tokenizer = tokenizer_of(changed);
        refused += tokenizer ? 0 : 1;
        EXPECT_TRUE(!tokenizer || tokenizer->encode("a b <s> c\xc3\xa9"));
      }
    }
  }
  EXPECT_GT(refused, 500U);
}

/// Truncated at every byte, the file is refused.
TEST(HostileTokenizers, TruncatedFilesAreRefused) {
  Json file = tiny_tokenizer();
  for (int byte = 0; byte < 256; ++byte) file["model"]["vocab"].erase(fmt::format("<0x{:02X}>", byte));
  const std::string text = file.dump();
  ASSERT_TRUE(Tokenizer::from_json(text, "", "tokenizer.json"));
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(Tokenizer::from_json(text.substr(0, size), "", "tokenizer.json")) << size;
  }
}

/// The byte tokens of a vocabulary may be misspelled: they are then no byte tokens.
TEST(HostileTokenizers, MisspelledByteTokensAreText) {
  Json file = tiny_tokenizer();
  file["model"]["vocab"]["<0x-1>"] = 300;
  file["model"]["vocab"]["<0xGG>"] = 301;
  const auto tokenizer = tokenizer_of(file).value();
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{300, 301}, false).value(), "<0x-1><0xGG>");
}

}  // namespace
}  // namespace cria::text
