// --grammar and --json-schema of `cria run` and `cria chat`: files that are followed, and files that are not.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

class GrammarFile : public testing::Test {
 protected:
  [[nodiscard]] std::string file(const std::string& name, std::string_view content) const {
    folder_.write(folder_.path() / name, content);
    return (folder_.path() / name).string();
  }
  static Outcome run_with(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run",           default_model_path().string(),
                                          "--prompt",      "Once upon a time there was a",
                                          "--max-tokens",  "60",
                                          "--temperature", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  static Outcome chat_with(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "chat", default_model_path().string(), "--template", "chatml", "--max-tokens", "60", "--temperature", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(Launch{.arguments = arguments, .input = "A cat?\nOr a dog?\n"});
  }
  TemporaryFolder folder_;
};

constexpr const char* kSchema =
    R"({"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 2,
    "maximum": 6}}, "required": ["animal", "legs"], "additionalProperties": false})";

void expect_animal(std::string_view text) {
  const auto answer = parse_json(text, "answer");
  ASSERT_TRUE(answer) << text;
  EXPECT_EQ(answer->size(), 2U) << text;
  EXPECT_TRUE(answer->at("animal") == "cat" || answer->at("animal") == "dog") << text;
  EXPECT_TRUE(answer->at("legs") >= 2 && answer->at("legs") <= 6) << text;
}

TEST_F(GrammarFile, TextsFitWhateverTheModelWouldSay) {
  // Korean letters are no tokens of the model's, which writes them byte by byte.
  const std::string grammar = file("동물.gbnf", "# 동물\nroot ::= \" \" (\"고양이\" | \"강아지\") [가-힣]{2} \".\"\n");
  const Outcome korean = run_with({"--grammar", grammar});
  expect_success(korean);
  const bool fits = korean.out.contains(" a 고양이") || korean.out.contains(" a 강아지");
  EXPECT_TRUE(fits && korean.out.ends_with(".\n")) << korean.out;
  expect_holds(korean.err, "\n  stopped   end of text\n");

  const Outcome schema = run_with({"--json-schema", file("schema.json", kSchema), "--json"});
  expect_success(schema);
  expect_animal(json_of(schema).at("text").get<std::string>());
}

TEST_F(GrammarFile, EachAnswerOfAChatFits) {
  const Outcome schema = chat_with({"--json-schema", file("schema.json", kSchema)});
  expect_success(schema);
  // Answers may have several lines: each ends with its bracket.
  const size_t end = schema.out.find('}');
  ASSERT_NE(end, std::string::npos) << schema.out;
  expect_animal(std::string_view(schema.out).substr(0, end + 1));
  expect_animal(std::string_view(schema.out).substr(end + 1));

  const Outcome korean = chat_with({"--grammar", file("g.gbnf", "root ::= \"네\" | \"아니요\"")});
  expect_success(korean);
  for (const std::string_view line : {std::string_view(korean.out).substr(0, korean.out.find('\n')),
                                      std::string_view(korean.out).substr(korean.out.find('\n') + 1)}) {
    EXPECT_TRUE(line.starts_with("네") || line.starts_with("아니요")) << korean.out;
  }
}

TEST_F(GrammarFile, WhatCannotBeFollowedIsRefusedWithItsPlace) {
  const std::string bad = file("bad.gbnf", "root ::= animal\nanimal ::= \"고양이\" | [강\n");
  const std::string undefined = file("undefined.gbnf", "root ::= \"a\"\n  | 동물\n");
  const std::string unknown = file("unknown.json", R"({"properties": {"a": {"not": {}}}})");
  const std::string no_json = file("no.json", "{");
  const std::string good = file("good.gbnf", "root ::= \"a\"");
  const std::pair<std::vector<std::string>, std::vector<std::string>> cases[] = {
      {{"--grammar", bad}, {bad + ": line 2, column 20: the class that begins here has no \"]\""}},
      {{"--grammar", undefined}, {undefined + ": line 2, column 5: \"동\" is not expected here"}},
      {{"--grammar", folder_.path() / "none.gbnf"}, {"none.gbnf"}},
      {{"--json-schema", unknown}, {unknown + ": #/properties/a: the keyword \"not\" is not supported"}},
      {{"--json-schema", no_json}, {no_json}},
      {{"--json-schema", folder_.path() / "none.json"}, {"none.json"}},
      {{"--grammar", good, "--json-schema", no_json}, {"--json-schema", "--grammar"}},
  };
  for (const auto& [arguments, phrases] : cases) {
    expect_refused_silently(run_with(arguments), phrases);
    expect_refused_silently(chat_with(arguments), phrases);
  }
}

}  // namespace
}  // namespace cria::e2e
