// The dialect, what it refuses, and the matcher against a slow reference and against brute force.
#include "grammar/grammar.h"

#include <gtest/gtest.h>

#include <chrono>

#include "grammar/matcher.h"
#include "random_grammar.h"

namespace cria::grammar {
namespace {

std::shared_ptr<const Grammar> parsed(std::string_view text) {
  auto grammar = Grammar::parse(text, "grammar");
  if (!grammar) ADD_FAILURE() << grammar.error().message() << "\n" << text;
  return grammar ? std::make_shared<const Grammar>(*std::move(grammar)) : nullptr;
}

bool accepts(Machine& machine, std::string_view text) {
  return machine.may_end(machine.step_over(machine.start(), text));
}

bool accepts(std::string_view grammar, std::string_view text) {
  Machine machine(parsed(grammar));
  return accepts(machine, text);
}

void expect_refused(std::string_view text, std::string_view phrase, const SyntaxLimits& limits = {}) {
  const auto grammar = Grammar::parse(text, "g", limits);
  ASSERT_FALSE(grammar) << text.substr(0, 100);
  EXPECT_NE(grammar.error().message().find(phrase), std::string::npos) << grammar.error().message();
  EXPECT_LT(grammar.error().message().size(), 400U);
}

constexpr const char* kJson = R"gbnf(
# JSON, as llama.cpp's users know it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
)gbnf";

TEST(Dialect, ElementsAcceptWhatTheySay) {
  struct Case {
    const char* grammar;
    std::vector<std::string> yes, no;
  };
  const Case cases[] = {
      {R"(root ::= "a\n\t\\\"\x41\u00e9\U0001F600")", {"a\n\t\\\"A\u00e9\U0001F600"}, {"", "a", "a\n\t\\\"A"}},
      {R"(root ::= "")", {""}, {"a"}},
      {R"(root ::= [a-cx])", {"a", "b", "c", "x"}, {"", "d", "ab"}},
      {R"(root ::= [^a-c]+)", {"d", "é😀\n"}, {"", "a", "da", "\xc3", "\xff", "\xed\xa0\x80", "\xc0\x80"}},
      {R"(root ::= [\]\-\^\\])", {"]", "-", "^", "\\"}, {"a"}},
      {R"(root ::= [a-])", {"a", "-"}, {"b"}},
      {R"(root ::= [α-ω]+)", {"αβγ", "ω"}, {"a", "Α"}},
      {"root ::= .", {"a", "é", "\n", "😀"}, {"", "ab", "\x80"}},
      {R"(root ::= "a"* "b"+ "c"?)", {"b", "aabb", "abc"}, {"", "a", "bcc"}},
      {R"(root ::= "a"{2})", {"aa"}, {"", "a", "aaa"}},
      {R"(root ::= "a"{2,})", {"aa", "aaaaaaa"}, {"a"}},
      {R"(root ::= ("ab" | "c"){1,3})", {"ab", "cabc"}, {"", "cccc", "a"}},
      {R"(root ::= "a"{0})", {""}, {"a"}},
      {R"(root ::= (("a"?)*)+ "b")", {"b", "aab"}, {"a"}},
      {"root ::= | \"a\" |\n  \"b\"\n  | c # end\n\n# more\nc ::= \"c\"", {"", "a", "b", "c"}, {"d"}},
      {"root::=(\n\"a\"\n\"b\" # in a group\n)\r\n", {"ab"}, {"a"}},
      {"root ::= \"(\" root \")\" root | \"\"", {"", "()", "(()())()"}, {"(", ")(", "(()"}},
      {"root ::= \"a\" root | \"a\"", {"a", "aaaa"}, {"", "b"}},
      {"root ::= . <[17]> <[4294967295]>?",
       {"a\xFF"
        "17\xFF",
        "a\xFF"
        "17\xFF\xFF"
        "4294967295\xFF"},
       {"a", "a<[17]>",
        "a\xFF"
        "1\xFF"}},
      {"root ::= x_1 x-2\nx_1 ::= \"1\"\nx-2 ::= \"2\"", {"12"}, {"1"}},
  };
  for (const Case& test : cases) {
    for (const std::string& text : test.yes) EXPECT_TRUE(accepts(test.grammar, text)) << test.grammar << ": " << text;
    for (const std::string& text : test.no) EXPECT_FALSE(accepts(test.grammar, text)) << test.grammar << ": " << text;
  }
}

TEST(Dialect, MistakesAreToldWithTheirPlace) {
  expect_refused("", "g: there is no rule \"root\"");
  expect_refused("a ::= \"b\"", "no rule \"root\"");
  expect_refused("root ::= a\n", "line 1 uses the rule \"a\", which is not defined");
  expect_refused("root ::= \"a\"\nroot ::= \"b\"",
                 "line 2, column 1: the rule \"root\" is defined twice, first in line 1");
  expect_refused("root ::= \"a", "line 1, column 10: the text that begins here has no end");
  expect_refused("root ::= é", "line 1, column 10: \"é\" is not expected here");
  expect_refused("root ::= \"é\" é", "line 1, column 14");
  expect_refused("root ::= [a", "column 10: the class that begins here has no \"]\"");
  expect_refused("root ::= []", "the class that begins here holds no character");
  expect_refused("root ::= [^\\x00-\\U0010FFFF]", "holds no character");
  expect_refused("root ::= [b-a]", "column 11: the range from U+0062 to U+0061 is backwards");
  expect_refused("root ::= \"\\q\"", "\"q\" is no escape");
  expect_refused("root ::= \"\\x4\"", "\\x needs 2 hexadecimal digits");
  expect_refused("root ::= \"\\ud800\"", "\\ud800 is no Unicode character");
  expect_refused("root ::= \"\\U00110000\"", "is no Unicode character");
  expect_refused("root ::= (\"a\"", "the group that begins here has no \")\"");
  expect_refused("root ::= \"a\")", "\")\" is not expected here");
  expect_refused("root ::= \"a\"{3,2}", "at least 3 and at most 2 is no count");
  expect_refused("root ::= \"a\"{,2}", "a count is expected here, not \",\"");
  expect_refused("root ::= \"a\"{2", "\"}\" is expected behind the counts, not the end");
  for (const char* token : {"<", "<17>", "<[]>", "<[a]>", "<[-1]>", "<[4294967296]>", "<[17 ]>", "<[17]", "<[17>"}) {
    expect_refused(fmt::format("root ::= \"a\" {}", token), "line 1, column 14: a special token is written with its");
  }
  expect_refused("root ::= *", "\"*\" is not expected here");
  expect_refused("root = \"a\"", "\"::=\" is expected behind a rule's name, not \"=\"");
  expect_refused("root ::= \"\xff\"", "the bytes here are not UTF-8");
  expect_refused("root ::= \x01", "U+0001 is not expected");
}

TEST(Dialect, WhatCannotBeFollowedIsRefused) {
  expect_refused("root ::= root \"a\" | \"b\"", "the rule \"root\" in line 1 may begin with itself (left recursion)");
  expect_refused("root ::= a\na ::= b\nb ::= \"x\"? a \"y\" | \"z\"", "left recursion");
  expect_refused("root ::= (root | \"a\")*", "left recursion");
  expect_refused("root ::= e root \"a\" | \"b\"\ne ::= \"\"", "left recursion");
  expect_refused("root ::= \"a\" root", "no text fits the rule \"root\" in line 1: it needs itself");
  expect_refused("root ::= \"a\" | x\nx ::= \"b\" x", "no text fits the rule \"x\" in line 2");
}

TEST(Dialect, SizesAreLimited) {
  const SyntaxLimits small{.bytes = 100, .rules = 2, .parts = 6, .depth = 2, .repetitions = 5};
  expect_refused(std::string(101, ' '), "the grammar has 101 bytes: at most 100 are taken", small);
  expect_refused("root ::= a\na ::= b\nb ::= \"\"", "more than 2 rules", small);
  expect_refused("root ::= \"a\" \"a\" \"a\" \"a\" \"a\" \"a\" \"a\"", "more than 6 elements", small);
  expect_refused("root ::= (((\"a\")))", "groups are nested deeper than 2", small);
  expect_refused("root ::= \"a\"{6}", "the count 6 is above 5", small);
  expect_refused("root ::= \"a\"*********", "more than 8 repetitions");
  expect_refused("root ::= \"a\"{99999999999999999999999}", "is above 10,000");
  expect_refused("root ::= ((\"a\"{10000}){10000}){10000}", "the grammar is too large");
  expect_refused("root ::= (((\"\"{10000}){10000}){10000}){10000}", "the grammar is too large");
  expect_refused("root ::= " + std::string(200'000, '('), "groups are nested deeper than 100");
}

TEST(Machine, FollowsAGrammarOfJson) {
  Machine machine(parsed(kJson));
  for (const char* text : {"{}", R"({"a": [1, -2.5e+3, "x\u00e9\"é"], "b": {"c": null}})", "{\n    \"a\":true}"}) {
    EXPECT_TRUE(accepts(machine, text)) << text;
  }
  for (const char* text : {"", "[]", "{", "{\"a\"}", "{\"a\":1,}", "{\"a\":\"\n\"}", "{}}", "{\"a\":01}"}) {
    EXPECT_FALSE(accepts(machine, text)) << text;
  }
}

TEST(Machine, AgreesWithASlowRecogniserOnRandomGrammars) {
  std::mt19937 random(1);
  int tried = 0;
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    const RandomGrammar grammar(random);
    const std::string text = grammar.text();
    auto compiled = Grammar::parse(text, "g");
    if (!compiled) {
      const std::string message = compiled.error().message();
      EXPECT_TRUE(message.find("left recursion") != std::string::npos ||
                  message.find("no text fits") != std::string::npos)
          << message << "\n"
          << text;
      continue;
    }
    ++tried;
    Machine machine(std::make_shared<const Grammar>(*std::move(compiled)));
    for (int i = 0; i < 20; ++i) {
      std::string sample;
      for (uint32_t length = static_cast<uint32_t>(random() % 8); length > 0; --length) {
        sample += RandomGrammar::kAlphabet[random() % 3];
      }
      const bool right = grammar.accepts(sample);
      accepted += right ? 1 : 0;
      machine.begin_work();
      ASSERT_EQ(accepts(machine, sample), right) << text << "\"" << sample << "\"";
    }
  }
  EXPECT_GT(tried, 1000);
  EXPECT_GT(accepted, 2000);
}

TEST(Machine, RecursionAtTheEndOfARuleLeavesNoStack) {
  Machine machine(parsed("root ::= item root | item\nitem ::= [a-z] rest\nrest ::= \",\" | \"\""),
                  {.depth = 8, .places = 64, .bytes = 1U << 20U, .work = 1000});
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "a,b";
  machine.begin_work();
  EXPECT_TRUE(accepts(machine, text));
  EXPECT_LT(machine.bytes(), 10'000U);
}

TEST(Machine, DepthEndsWhereTheLimitIs) {
  Machine machine(parsed("root ::= \"(\" root \")\" | \"x\""), {.depth = 5});
  EXPECT_TRUE(accepts(machine, "(((((x)))))"));
  EXPECT_FALSE(accepts(machine, "((((((x))))))"));
}

TEST(Machine, WaysToReadATextShareWhatTheyHaveInCommon) {
  // Each "a" may be read in two ways, which only what follows tells apart: 2^500 of them.
  Machine machine(parsed("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\""));
  machine.begin_work();
  std::string text(500, 'a');
  for (int i = 0; i < 250; ++i) text += "bc";
  EXPECT_TRUE(accepts(machine, text));
  EXPECT_FALSE(accepts(machine, text + "b"));
  EXPECT_FALSE(machine.is_exhausted());
  EXPECT_LT(machine.bytes(), 2'000'000U);
}

TEST(Machine, WaysToReadATextAreLimited) {
  // All of 300 letters may have ended any number of the words.
  Machine machine(parsed("root ::= \"x\" root end | \"\"\nend ::= [a-z]? [a-z]? \".\"?"), {.places = 100});
  EXPECT_TRUE(accepts(machine, "xxxxab."));
  EXPECT_EQ(machine.step_over(machine.start(), std::string(300, 'x')), Machine::kDead);
  EXPECT_TRUE(machine.is_exhausted());
}

std::vector<std::string> random_tokens(std::mt19937& random, size_t count, std::string_view alphabet) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < count; ++i) {
    std::string& token = tokens.emplace_back();
    for (uint32_t length = static_cast<uint32_t>(random() % 6); length > 0; --length) {
      token += alphabet[random() % alphabet.size()];
    }
  }
  return tokens;
}

/// The tokens that may come next, each tried by itself.
void expect_mask_is_right(Matcher& matcher, Machine& machine, uint32_t set, const Vocabulary& vocabulary) {
  const std::span<const uint32_t> mask = matcher.mask();
  bool is_stuck = true;
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    const std::string_view bytes = vocabulary.bytes(token);
    const bool right = !bytes.empty() && machine.step_over(set, bytes) != Machine::kDead;
    is_stuck = is_stuck && !right;
    ASSERT_EQ((mask[token / 32] >> (token % 32) & 1U) != 0, right) << "token " << token << " \"" << bytes << "\"";
  }
  for (uint32_t bit = vocabulary.size(); bit < 32 * mask.size(); ++bit) {
    ASSERT_EQ(mask[bit / 32] >> (bit % 32) & 1U, 0U) << "bit " << bit << " is no token's";
  }
  EXPECT_EQ(matcher.is_stuck(), is_stuck);
}

TEST(Masks, AreThoseOfEachTokenAlone) {
  std::mt19937 random(2);
  int steps = 0;
  for (int round = 0; round < 600; ++round) {
    auto compiled = Grammar::parse(RandomGrammar(random).text(), "g");
    if (!compiled) continue;
    const auto grammar = std::make_shared<const Grammar>(*std::move(compiled));
    const auto vocabulary = std::make_shared<const Vocabulary>(random_tokens(random, 100, "abc"));
    Matcher matcher(std::make_shared<TokenMasks>(grammar, vocabulary));
    Machine machine(grammar);
    uint32_t set = machine.start();
    for (int i = 0; i < 16; ++i) {
      ASSERT_NO_FATAL_FAILURE(expect_mask_is_right(matcher, machine, set, *vocabulary));
      EXPECT_EQ(matcher.may_end(), machine.may_end(set));
      const auto token = static_cast<uint32_t>(random() % vocabulary->size());
      const std::string_view bytes = vocabulary->bytes(token);
      const uint32_t next = machine.step_over(set, bytes);
      const bool is_allowed = !bytes.empty() && next != Machine::kDead;
      ASSERT_EQ(matcher.advance(token), is_allowed);
      if (is_allowed) set = next;
      steps += is_allowed ? 1 : 0;
    }
  }
  EXPECT_GT(steps, 200);
}

TEST(Masks, PartsOfCharactersAreTokensToo) {
  const auto vocabulary = std::make_shared<const Vocabulary>(
      std::vector<std::string>{"\xc3", "\xa9", "\xc3\xa9", "\xa9\xc3", "\xff", "e", "", "\xf0\x9f", "\x98\x80"});
  Matcher matcher(std::make_shared<TokenMasks>(parsed("root ::= [é😀]+ \"e\""), vocabulary));
  EXPECT_EQ(matcher.mask()[0], 0b0'1000'0101U);
  EXPECT_FALSE(matcher.advance(1));
  EXPECT_TRUE(matcher.advance(0U));
  EXPECT_EQ(matcher.mask()[0], 0b0'0000'1010U);
  EXPECT_TRUE(matcher.advance(3));
  EXPECT_TRUE(matcher.advance(1));
  EXPECT_TRUE(matcher.advance(7));
  EXPECT_EQ(matcher.mask()[0], 0b1'0000'0000U);
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.advance(8));
  EXPECT_TRUE(matcher.advance(5));
  EXPECT_TRUE(matcher.is_complete());
  EXPECT_TRUE(matcher.is_stuck());
}

TEST(Masks, AreComputedOnceForAllTexts) {
  const auto vocabulary = std::make_shared<const Vocabulary>(std::vector<std::string>{"a", "b", "ab"});
  const auto masks = std::make_shared<TokenMasks>(parsed("root ::= (\"a\" | \"b\")*"), vocabulary);
  Matcher one(masks);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(one.mask()[0], 7U);
    EXPECT_TRUE(one.advance(static_cast<uint32_t>(i % 3)));
  }
  Matcher other(masks);
  EXPECT_EQ(other.mask()[0], 7U);
  EXPECT_LE(masks->computed(), 3U);
}

TEST(Masks, MemoryIsGivenBackWhileTextsGoOn) {
  // Each count is a place of its own, and so are the tokens' ends behind it.
  const auto grammar = parsed("root ::= \"[\" [ab]{10000} \"]\" root | \"\"");
  const auto vocabulary = std::make_shared<const Vocabulary>(std::vector<std::string>{"[", "a", "b", "abab", "]"});
  const auto masks = std::make_shared<TokenMasks>(grammar, vocabulary, MachineLimits{.bytes = 200'000});
  Matcher first(masks);
  Matcher second(masks);
  EXPECT_TRUE(first.advance(0U));
  for (int i = 0; i < 2500; ++i) {
    ASSERT_EQ(first.mask()[0], 0b01110U);
    ASSERT_TRUE(first.advance(3));
    ASSERT_EQ(second.mask()[0], 0b00001U);
  }
  ASSERT_EQ(first.mask()[0], 0b10000U);
  EXPECT_TRUE(first.advance(4));
  EXPECT_TRUE(first.may_end());
  EXPECT_TRUE(second.may_end());
}

TEST(Masks, OfJsonTakeLittleTime) {
  std::mt19937 random(3);
  std::vector<std::string> tokens = random_tokens(random, 32'000, "etaoin shrdlu,.:\"{}[]0123456789\n");
  const auto vocabulary = std::make_shared<const Vocabulary>(tokens);
  const auto masks = std::make_shared<TokenMasks>(parsed(kJson), vocabulary);
  Matcher matcher(masks);
  double worst = 0;
  for (const char c : std::string_view(R"({"some name": [1, 2.5e3, "text \n", {"a": null}], "b":)")) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(matcher.is_stuck());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    worst = std::max(worst, taken.count());
    ASSERT_TRUE(matcher.advance(std::string_view(&c, 1)));
  }
  std::printf("the slowest mask took %.3f ms\n", 1e3 * worst);
  EXPECT_LT(worst, 0.05);  // 2 ms are usual; a busy machine may take longer
}

}  // namespace
}  // namespace cria::grammar
