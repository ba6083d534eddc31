// Calls of tools in answers: what their grammar allows, and what is read from texts that it allows, however they come.
#include <gtest/gtest.h>

#include <random>

#include "grammar/machine.h"
#include "grammar/matcher.h"
#include "json_validator.h"
#include "server/call_grammar.h"
#include "server/call_parser.h"

namespace cria::server {
namespace {

using text::CallForm;

constexpr const char* kTools = R"([
  {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters":
    {"type": "object", "additionalProperties": false, "required": ["city"], "properties": {
      "city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]},
      "days": {"type": "array", "maxItems": 2, "items": {"type": "integer", "minimum": 1, "maximum": 7}}}}}},
  {"type": "function", "function": {"name": "get-time"}},
  {"type": "function", "function": {"name": "walk", "parameters": {"$defs": {"step": {"type": "object",
    "additionalProperties": false, "required": ["next"], "properties": {"next": {"anyOf": [{"type": "null"},
    {"$ref": "#/$defs/step"}]}}}}, "type": "object", "additionalProperties": false, "required": ["first"],
    "properties": {"first": {"$ref": "#/$defs/step"}}}}}])";

ToolUse use_of(const Json& choice, bool is_parallel = true) {
  const Json tools = parse_json(kTools, "tools").value();
  return read_tools(std::string("{\"tools\": ") + kTools + "}", &tools, &choice, is_parallel).value();
}

std::shared_ptr<const grammar::Grammar> grammar_of(CallForm form, const Json& choice, bool is_parallel = true,
                                                   const SpecialMarkers& special = {}) {
  auto made = call_grammar(use_of(choice, is_parallel), form, special);
  if (!made) ADD_FAILURE() << made.error().message;
  return made ? *made : nullptr;
}

bool accepts(const std::shared_ptr<const grammar::Grammar>& grammar, std::string_view text) {
  grammar::Machine machine(grammar);
  return machine.may_end(machine.step_over(machine.start(), text));
}

/// An answer put together again.
struct Answer {
  std::string text;
  std::vector<std::pair<std::string, std::string>> calls;  // names and arguments
  size_t whole = 0;
  bool is_in_call = false;

  bool operator==(const Answer&) const = default;
};

Answer read(CallForm form, const std::vector<std::string>& parts) {
  CallParser parser(form);
  Answer answer;
  const auto take = [&](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) {
      if (piece.call == AnswerPiece::kNoCall) {
        EXPECT_TRUE(answer.calls.empty()) << "text behind a call";
        answer.text += piece.text;
        continue;
      }
      if (!piece.name.empty()) answer.calls.emplace_back(piece.name, "");
      ASSERT_EQ(piece.call + 1, answer.calls.size());
      answer.calls.back().second += piece.text;
    }
  };
  for (const std::string& part : parts) take(parser.push(part));
  take(parser.finish());
  answer.whole = parser.calls();
  answer.is_in_call = parser.is_in_call();
  return answer;
}

/// Reads a text whole, cut in two at every byte, and byte by byte.
Answer read_in_all_ways(CallForm form, const std::string& text) {
  const Answer answer = read(form, {text});
  std::vector<std::string> bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_EQ(read(form, {text.substr(0, i), text.substr(i)}), answer) << "cut at " << i << " of " << text;
    bytes.push_back(text.substr(i, 1));
  }
  EXPECT_EQ(read(form, bytes), answer) << text;
  return answer;
}

struct Case {
  CallForm form;
  std::string text;
  Answer answer;
};

std::vector<Case> cases() {
  const std::pair<std::string, std::string> rome = {"get_weather", R"({"city": "R\"o}{m\\", "days": [1, 7]})"};
  const std::pair<std::string, std::string> time = {"get-time", "{}"};
  const auto one = [&](std::string text = "") { return Answer{std::move(text), {rome}, 1, false}; };
  const std::string call = R"({"name": "get_weather", "arguments": )" + rome.second + "}";
  const std::string llama = R"({"name": "get_weather", "parameters": )" + rome.second + "}";
  const std::string hermes = "<tool_call>\n" + call + "\n</tool_call>";
  const std::string second = R"(<tool_call>{"name":"get-time","arguments":{}}</tool_call>)";
  return {
      {CallForm::kHermes, hermes, one()},
      {CallForm::kHermes, "I look.\n\n" + hermes, one("I look.")},
      {CallForm::kHermes, "a <tool_ <<tool_call" + hermes, one("a <tool_ <<tool_call")},
      {CallForm::kHermes, hermes + "\n" + second, {"", {rome, time}, 2, false}},
      {CallForm::kHermes, " just <tool text {} \n", {" just <tool text {} \n", {}, 0, false}},
      {CallForm::kHermes, "", {}},
      {CallForm::kMistral, "[TOOL_CALLS][" + call + "]", one()},
      {CallForm::kMistral,
       "Well [T\n[TOOL_CALLS] [" + call + R"(, {"name": "get-time", "arguments": {}}])",
       {"Well [T", {rome, time}, 2, false}},
      {CallForm::kMistral,
       R"([TOOL_CALLS][{"name": "get-time", "arguments": {}, "id": "a1B2c3D4e"}])",
       {"", {time}, 1, false}},
      {CallForm::kMistral, "[1, 2]", {"[1, 2]", {}, 0, false}},
      {CallForm::kMistralArgs, "[TOOL_CALLS]get_weather[ARGS]" + rome.second, one()},
      {CallForm::kMistralArgs,
       "Well.\n[TOOL_CALLS]get_weather[ARGS]" + rome.second + "[TOOL_CALLS]get-time[CALL_ID]a1B2c3D4e[ARGS]{}",
       {"Well.", {rome, time}, 2, false}},
      {CallForm::kLlama3, llama, one()},
      {CallForm::kLlama3, "\n { \n\"name\" : \"get-time\", \"parameters\": {}}", {"", {time}, 1, false}},
      {CallForm::kLlama3, "<|python_tag|>" + llama, one()},
      {CallForm::kLlama3, "I look. <|python_tag|>" + llama, one("I look.")},
      {CallForm::kLlama3, R"({"nam": 1})", {R"({"nam": 1})", {}, 0, false}},
      {CallForm::kLlama3, R"({"name": 1})", {R"({"name": 1})", {}, 0, false}},
      {CallForm::kLlama3, R"( {"na)", {R"( {"na)", {}, 0, false}},
      {CallForm::kLlama3, "Say: " + llama, {"Say: " + llama, {}, 0, false}},
  };
}

TEST(Calls, AreReadHoweverTheTextIsCut) {
  for (const Case& test : cases()) EXPECT_EQ(read_in_all_ways(test.form, test.text), test.answer) << test.text;
}

TEST(Calls, AreWhatTheGrammarAllows) {
  for (const Case& test : cases()) {
    EXPECT_TRUE(accepts(grammar_of(test.form, "auto"), test.text)) << test.text;
    const bool is_forced = test.answer.text.empty() && !test.answer.calls.empty();
    if (test.text.starts_with("\n") || (test.form == CallForm::kLlama3 && test.text.starts_with("<"))) continue;
    EXPECT_EQ(accepts(grammar_of(test.form, "required"), test.text), is_forced) << test.text;
    const bool is_single = is_forced && test.answer.calls.size() == 1;
    EXPECT_EQ(accepts(grammar_of(test.form, "required", false), test.text), is_single) << test.text;
    const Json named = {{"type", "function"}, {"function", {{"name", "get-time"}}}};
    EXPECT_EQ(accepts(grammar_of(test.form, named), test.text),
              is_single && test.answer.calls.front().first == "get-time")
        << test.text;
  }
}

TEST(Calls, ThatAreWrongAreNotAllowed) {
  const std::pair<CallForm, const char*> wrong[] = {
      {CallForm::kHermes, "<tool_call>"},
      {CallForm::kHermes, R"(<tool_call>{"name": "get", "arguments": {}}</tool_call>)"},
      {CallForm::kHermes, R"(<tool_call>{"name": "get-time", "arguments": {"a": 1}}</tool_call>)"},
      {CallForm::kHermes, R"(<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>)"},
      {CallForm::kHermes, R"(<tool_call>{"name": "get-time", "arguments": {}}</tool_call> More)"},
      {CallForm::kHermes, R"(x<<tool_call>{"name": "walk", "arguments": {"first": {"next": {}}}}</tool_call>)"},
      {CallForm::kMistral, "[TOOL_CALLS] none"},
      {CallForm::kMistral, R"([TOOL_CALLS][{"name": "get-time", "arguments": {}])"},
      {CallForm::kMistral, R"([TOOL_CALLS][{"name": "get-time", "arguments": {}, "id": "short"}])"},
      {CallForm::kMistralArgs, "[TOOL_CALLS]get[ARGS]{}"},
      {CallForm::kMistralArgs, R"([TOOL_CALLS]get-time{})"},
      {CallForm::kMistralArgs, R"([TOOL_CALLS]get-time[ARGS]{"a": 1})"},
      {CallForm::kLlama3, R"({"name": "get", "parameters": {}})"},
      {CallForm::kLlama3, R"({"name": "get-time", "parameters": {}} {)"},
      {CallForm::kLlama3, R"({"name": "get-time", "arguments": {}})"},
      {CallForm::kLlama3, "<|python_tag|>print(1)"},
  };
  for (const auto& [form, text] : wrong) EXPECT_FALSE(accepts(grammar_of(form, "auto"), text)) << text;
}

TEST(Calls, MarkersThatAreSpecialTokensAreNeverSpelled) {
  const std::string call = R"({"name": "get-time", "arguments": {}})";
  const auto hermes = grammar_of(CallForm::kHermes, "auto", true, {{"<tool_call>", 7}, {"</tool_call>", 8}});
  EXPECT_TRUE(accepts(hermes,
                      "Well.\xFF"
                      "7\xFF\n" +
                          call +
                          "\xFF"
                          "8\xFF\n\xFF"
                          "7\xFF" +
                          call +
                          "\xFF"
                          "8\xFF"));
  EXPECT_TRUE(accepts(hermes, "Well <tool_call"));
  EXPECT_FALSE(accepts(hermes, "Well <tool_call>"));
  EXPECT_FALSE(accepts(hermes,
                       "\xFF"
                       "7\xFF" +
                           call + "</tool_call>"));
  const auto llama = grammar_of(CallForm::kLlama3, "auto", true, {{"<|python_tag|>", 9}});
  const std::string named = R"({"name": "get-time", "parameters": {}})";
  EXPECT_TRUE(accepts(llama,
                      "\xFF"
                      "9\xFF" +
                          named));
  EXPECT_TRUE(accepts(llama,
                      "x \xFF"
                      "9\xFF" +
                          named));
  EXPECT_TRUE(accepts(llama, named));
  EXPECT_FALSE(accepts(llama,
                       "\xFF"
                       "9\xFFx"));
  const auto mistral = grammar_of(CallForm::kMistral, "required", true, {{"[TOOL_CALLS]", 5}});
  EXPECT_TRUE(accepts(mistral,
                      "\xFF"
                      "5\xFF[" +
                          call + "]"));
  EXPECT_FALSE(accepts(mistral, "[TOOL_CALLS][" + call + "]"));
}

/// A random way through a grammar, byte by byte, that mostly keeps to what is short.
std::string random_text(const std::shared_ptr<const grammar::Grammar>& grammar, std::mt19937& random, size_t most) {
  grammar::Machine machine(grammar);
  uint32_t set = machine.start();
  std::string text;
  while (text.size() < most) {
    if (machine.may_end(set) && (!machine.may_go_on(set) || random() % 8 == 0)) break;
    std::string next;
    for (int byte = 1; byte < 128; ++byte) {
      const bool is_allowed =
          machine.step_over(set, std::string(1, static_cast<char>(byte))) != grammar::Machine::kDead;
      const bool is_closing = std::string_view("\"}],").contains(static_cast<char>(byte));
      if (is_allowed) next.append(is_closing ? 30 : 1, static_cast<char>(byte));
    }
    if (next.empty()) break;
    const char byte = next[random() % next.size()];
    set = machine.step_over(set, std::string(1, byte));
    text += byte;
  }
  return text;
}

TEST(Calls, OfRandomAnswersFitTheirSchemas) {
  std::mt19937 random(5);
  const ToolUse use = use_of("required");
  size_t whole = 0;
  for (const CallForm form : {CallForm::kHermes, CallForm::kLlama3, CallForm::kMistral, CallForm::kMistralArgs}) {
    const auto grammar = grammar_of(form, "required");
    for (int round = 0; round < 60; ++round) {
      const std::string text = random_text(grammar, random, 700);
      const Answer answer = read(form, {text.substr(0, text.size() / 2), text.substr(text.size() / 2)});
      // Without the marker there would be no telling that the answer of Llama 3's form is a call.
      EXPECT_EQ(answer.text, "") << text;
      EXPECT_EQ(answer.calls.size(), answer.whole + (answer.is_in_call && answer.calls.size() > answer.whole ? 1 : 0));
      for (size_t i = 0; i < answer.whole; ++i) {
        const auto& [name, arguments] = answer.calls[i];
        const auto tool = std::ranges::find(use.tools, name, &Tool::name);
        ASSERT_NE(tool, use.tools.end()) << name;
        const auto value = parse_json(arguments, "arguments", {.allow_duplicate_keys = true});
        ASSERT_TRUE(value) << arguments << " of " << text;
        const Json schema = Json::parse(tool->parameters.dump());
        EXPECT_TRUE(json_fits(*value, schema, schema)) << arguments;
        ++whole;
      }
    }
  }
  EXPECT_GT(whole, 150U);
}

TEST(Calls, CutOffAnswersGiveWhatThereIs) {
  const std::string text = R"(<tool_call>{"name": "get_weather", "arguments": {"city": "Ro)";
  EXPECT_EQ(read_in_all_ways(CallForm::kHermes, text), (Answer{"", {{"get_weather", R"({"city": "Ro)"}}, 0, true}));
  EXPECT_EQ(read_in_all_ways(CallForm::kHermes, R"(<tool_call>{"name": "get_we)"), (Answer{"", {}, 0, true}));
  EXPECT_EQ(read_in_all_ways(CallForm::kLlama3, R"({"name": "get_weather)"), (Answer{"", {}, 0, true}));
}

}  // namespace
}  // namespace cria::server
