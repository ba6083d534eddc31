// Tools: calls that are forced are made in OpenAI's form, whole and streamed, and requests that ask for nonsense are
// refused.
#include "json_validator.h"
#include "server/server_fixture.h"

namespace cria::server {
namespace {

Json tools() {
  return parse_json(R"([
    {"type": "function", "function": {"name": "count", "description": "Counts animals", "strict": true, "parameters":
      {"type": "object", "additionalProperties": false, "required": ["animal", "most"], "properties": {
        "animal": {"enum": ["cat", "dog"]}, "most": {"type": "integer", "minimum": 1, "maximum": 20}}}}},
    {"type": "function", "function": {"name": "stop"}}])",
                    "tools")
      .value();
}

Json named(const std::string& name) { return {{"type", "function"}, {"function", {{"name", name}}}}; }

/// In the manner of Mistral's, and of Llama 3.1's. They tell the names alone, as a long prompt takes long.
constexpr const char* kMistral =
    "{% for m in messages %}{% if m.role == 'user' %}{% if tools %}[TOOLS]{% for t in tools %}{{ t.function.name }} {% "
    "endfor %}{% endif %}"
    "[INST]{{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS]"
    "[{% for c in m.tool_calls %}{{ c.function|tojson }}{{ c.id if c.id|length == 9 else raise_exception('id') }}"
    "{% endfor %}]{% else %}{{ m.content }}{% endif %}{% endfor %}";
constexpr const char* kLlama =
    "{% for m in messages %}<|start_header_id|>{{ m.role }}{% if tools and loop.first %}{% for t in tools %}{{ "
    "t.function.name }} {% endfor %}{% endif %}"
    "{% if m.tool_calls %}{{ m.tool_calls[0].function|tojson }}{% elif m.role == 'tool' %}"
    "<|start_header_id|>ipython<|end_header_id|>{{ m.content }}{% else %}{{ m.content }}{% endif %}{% endfor %}";

class ToolsTest : public ServerTest {
 protected:
  ToolsTest() { max_context_ = 700; }

  static Json body(const Json& more) {
    Json body = {{"messages", Json::array({{{"role", "user"}, {"content", "How many cats?"}}})},
                 {"tools", tools()},
                 {"max_tokens", 120}};
    body.update(more);
    return body;
  }
  [[nodiscard]] Reply ask(const Json& more) const { return post("/v1/chat/completions", body(more)); }

  /// A choice with whole calls whose arguments fit.
  static void expect_calls(const Json& choice, size_t most = SIZE_MAX) {
    const Json& message = choice.at("message");
    EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
    EXPECT_TRUE(message.at("content").is_null());
    ASSERT_TRUE(message.contains("tool_calls")) << choice.dump();
    EXPECT_GE(message.at("tool_calls").size(), 1U);
    EXPECT_LE(message.at("tool_calls").size(), most);
    for (const Json& call : message.at("tool_calls")) {
      EXPECT_EQ(call.at("type"), "function");
      EXPECT_FALSE(call.at("id").get<std::string>().empty());
      EXPECT_EQ(call.size(), 3U);
      const std::string name = call.at("function").at("name");
      const auto arguments = parse_json(call.at("function").at("arguments").get<std::string>(), "arguments");
      ASSERT_TRUE(arguments) << call.dump();
      const Json schema = name == "count" ? tools().at(0).at("function").at("parameters") : Json::object();
      EXPECT_TRUE(json_fits(*arguments, schema, schema)) << call.dump();
      EXPECT_TRUE(name == "count" || (name == "stop" && arguments->empty())) << call.dump();
    }
  }

  /// The message of a chat's only choice, put together from a stream in the way of OpenAI's clients.
  [[nodiscard]] Json streamed(const Json& more) const {
    Json asked = body(more);
    asked["stream"] = true;
    const std::string events = post("/v1/chat/completions", asked).text;
    Json choice = {{"message", {{"content", nullptr}}}};
    Json& message = choice["message"];
    for (size_t at = 0; at < events.size();) {
      const size_t end = events.find("\n\n", at);
      const std::string event = events.substr(at + 6, end - at - 6);
      at = end + 2;
      if (event == "[DONE]") break;
      const Json part = parse_json(event, "event").value().at("choices").at(0);
      const Json& delta = part.at("delta");
      if (!part.at("finish_reason").is_null()) choice["finish_reason"] = part.at("finish_reason");
      if (delta.contains("content") && delta.at("content").is_string()) {
        message["content"] = message["content"].is_null() ? "" : message["content"];
        message["content"] = message["content"].get<std::string>() + delta.at("content").get<std::string>();
      }
      for (const Json& piece : delta.value("tool_calls", Json::array())) {
        Json& calls = message["tool_calls"];
        const size_t index = piece.at("index");
        if (piece.contains("id")) {
          EXPECT_EQ(index, calls.size());
          calls.push_back({{"id", piece.at("id")}, {"type", piece.at("type")}, {"function", piece.at("function")}});
          continue;
        }
        EXPECT_EQ(piece.at("function").size(), 1U) << "only the arguments go on";
        Json& arguments = calls.at(index).at("function").at("arguments");
        arguments = arguments.get<std::string>() + piece.at("function").at("arguments").get<std::string>();
      }
    }
    return choice;
  }

  /// Calls without their ids, which are drawn.
  static Json without_ids(Json choice) {
    for (Json& call : choice["message"]["tool_calls"]) call.erase("id");
    return choice["message"]["tool_calls"];
  }
};

TEST_F(ToolsTest, ForcedCallsAreMadeInEveryForm) {
  int whole = 0;
  for (const auto& [source, choice] :
       {std::pair(template_, named("stop")), std::pair(std::string(kMistral), named("stop")),
        std::pair(std::string(kLlama), Json("required"))}) {
    template_ = source;
    start();
    const Reply reply = ask({{"tool_choice", choice}, {"parallel_tool_calls", false}, {"n", 2}, {"temperature", 1}});
    ASSERT_EQ(reply.status, 200) << reply.text;
    for (const Json& answer : reply.json.at("choices")) {
      if (answer.at("finish_reason") == "length") continue;
      ++whole;
      ASSERT_NO_FATAL_FAILURE(expect_calls(answer, 1));
      const Json& call = answer.at("message").at("tool_calls").at(0);
      EXPECT_TRUE(choice == "required" || call.at("function").at("name") == "stop") << answer.dump();
      EXPECT_EQ(call.at("id").get<std::string>().size(), source == kMistral ? 9U : 29U);
    }
    finish();
  }
  EXPECT_GE(whole, 4) << "of 6";
}

TEST_F(ToolsTest, StreamsGiveTheSameCalls) {
  for (const auto& [source, choice, most] :
       {std::tuple(kMistral, Json("required"), 40), std::tuple(kLlama, named("count"), 90)}) {
    template_ = source;
    start();
    const Json more = {{"tool_choice", choice}, {"temperature", 0}, {"max_tokens", most}};
    const Reply whole = ask(more);
    ASSERT_EQ(whole.status, 200) << whole.text;
    const Json& answer = whole.json.at("choices").at(0);
    const Json stream = streamed(more);
    EXPECT_EQ(without_ids(stream), without_ids(answer));
    EXPECT_EQ(stream.at("finish_reason"), answer.at("finish_reason"));
    EXPECT_TRUE(stream.at("message").at("content").is_null());
    if (source == kLlama) expect_calls(stream, 1);
    finish();
  }
}

/// A model whose tokenizer has the marker as a special token, which a bias makes the model write.
TEST_F(ToolsTest, ACallThatTheModelBeginsItselfIsHeldToTheGrammar) {
  const TemporaryFolder folder;
  for (const auto& file : std::filesystem::directory_iterator(model_path_)) {
    if (file.path().filename() != "tokenizer.json") {
      std::filesystem::create_symlink(file.path(), folder.path() / file.path().filename());
    }
  }
  std::string tokenizer = file_text(model_path_ / "tokenizer.json");
  for (size_t at = tokenizer.find("\"<unk>\""); at != std::string::npos; at = tokenizer.find("\"<unk>\"", at)) {
    tokenizer.replace(at, 7, "\"[TOOL_CALLS]\"");
  }
  folder.write(folder.path() / "tokenizer.json", tokenizer);
  model_path_ = folder.path();
  template_ = kMistral;
  start();
  const Json calling = {{"tool_choice", "auto"}, {"logit_bias", {{"0", 100}}}, {"temperature", 0}, {"max_tokens", 50}};
  const Reply whole = ask(calling);
  ASSERT_EQ(whole.status, 200) << whole.text;
  const Json& choice = whole.json.at("choices").at(0);
  if (choice.at("finish_reason") == "tool_calls") expect_calls(choice);
  ASSERT_TRUE(choice.at("message").contains("tool_calls")) << whole.text;
  EXPECT_EQ(without_ids(streamed(calling)), without_ids(choice));

  const Reply text = ask({{"temperature", 0}, {"max_tokens", 10}});
  EXPECT_FALSE(text.json.at("choices").at(0).at("message").contains("tool_calls")) << text.text;
  EXPECT_EQ(text.json.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(streamed({{"temperature", 0}, {"max_tokens", 10}}).at("message").at("content"),
            text.json.at("choices").at(0).at("message").at("content"));
  const Reply form = ask(
      {{"tool_choice", "none"}, {"response_format", {{"type", "json_object"}}}, {"temperature", 0}, {"max_tokens", 4}});
  EXPECT_EQ(form.status, 200) << form.text;
  EXPECT_TRUE(form.json.at("choices").at(0).at("message").at("content").get<std::string>().starts_with('{'));
  const Reply none = ask({{"tool_choice", "none"}, {"logit_bias", {{"0", 100}}}, {"max_tokens", 5}});
  EXPECT_EQ(none.json.at("choices").at(0).at("message").at("content"), "") << none.text;
}

TEST_F(ToolsTest, ACallThatIsCutOffSaysSo) {
  template_ = kLlama;
  start();
  const Reply reply = ask({{"tool_choice", named("count")}, {"max_tokens", 26}, {"temperature", 0}});
  ASSERT_EQ(reply.status, 200) << reply.text;
  const Json& choice = reply.json.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "length");
}

TEST_F(ToolsTest, ResultsAreReadBack) {
  for (const char* source : {kMistral, kLlama}) {
    template_ = source;
    start();
    const Reply call = ask({{"tool_choice", named("stop")}, {"temperature", 0}});
    ASSERT_EQ(call.status, 200) << call.text;
    const Json message = call.json.at("choices").at(0).at("message");
    Json messages = body(Json::object()).at("messages");
    messages.push_back(message);
    messages.push_back({{"role", "tool"}, {"content", "7"}, {"tool_call_id", message.at("tool_calls").at(0).at("id")}});
    const Reply reply = ask({{"messages", messages}, {"max_tokens", 4}});
    EXPECT_EQ(reply.status, 200) << reply.text;
    EXPECT_GT(reply.json.at("usage").at("prompt_tokens"), call.json.at("usage").at("prompt_tokens"));
    finish();
  }
}

TEST_F(ToolsTest, NonsenseIsRefusedWithTheValue) {
  start();
  const auto tool = [](const Json& function) {
    return Json{{"tools", Json::array({{{"type", "function"}, {"function", function}}})}};
  };
  const auto schema = [&](const Json& parameters) { return tool({{"name", "f"}, {"parameters", parameters}}); };
  const auto after = [](const Json& message) {
    return Json{{"messages", Json::array({{{"role", "user"}, {"content", "x"}}, message})}};
  };
  const auto calls = [&](const Json& call) {
    return after({{"role", "assistant"}, {"tool_calls", Json::array({call})}});
  };
  const std::pair<Json, const char*> cases[] = {
      {{{"tool_choice", named("walk")}}, "\"tool_choice\" names \"walk\", which is not among \"tools\""},
      {{{"tool_choice", "always"}}, "\"tool_choice\" is \"always\""},
      {{{"tool_choice", {{"type", "function"}}}}, "\"tool_choice\" is {\"type\":\"function\"}"},
      {{{"tool_choice", 1}}, "\"tool_choice\" is 1"},
      {{{"tool_choice", "required"}, {"tools", nullptr}}, "there are no \"tools\""},
      {{{"tool_choice", named("count")}, {"tools", Json::array()}}, "there are no \"tools\""},
      {{{"parallel_tool_calls", "yes"}}, "\"parallel_tool_calls\" is \"yes\""},
      {{{"tools", 1}}, "\"tools\" is 1: it must be a list"},
      {{{"tools", Json::array({1})}}, "\"tools[0]\" is 1"},
      {{{"tools", Json::array({tools().at(0), tools().at(0)})}}, "\"tools\" holds \"count\" twice"},
      {tool({{"description", "x"}}), "\"tools[0].function\" has no \"name\""},
      {tool({{"name", "a b"}}), "\"tools[0].function.name\" is \"a b\""},
      {tool({{"name", std::string(65, 'a')}}), "1 to 64 of"},
      {tool({{"name", "f"}, {"code", "x"}}), "has \"code\": \"x\""},
      {schema(1), "\"parameters\": 1"},
      {schema({{"type", "array"}}), "has the \"type\" \"array\": arguments are an object"},
      {schema({{"type", "object"}, {"properties", {{"a", {{"not", Json::object()}}}}}}),
       "the parameters of the tool \"f\": #/properties/a: the keyword \"not\" is not supported"},
      {{{"response_format", {{"type", "json_object"}}}}, "were both given"},
      {{{"grammar", "root ::= \"a\""}}, "were both given"},
      {after({{"role", "tool"}, {"content", "7"}}), "\"messages[1]\" is the result of a tool and has no"},
      {after({{"role", "tool"}, {"content", "7"}, {"tool_call_id", "x"}}),
       "\"messages[1].tool_call_id\" is \"x\": no message before it made that call"},
      {after({{"role", "user"}, {"content", "7"}, {"tool_call_id", "x"}}), "\"tool_call_id\", which is not supported"},
      {after({{"role", "assistant"}}), "\"messages[1]\" has no \"content\""},
      {calls({{"id", "a"}}), "\"messages[1].tool_calls[0]\" is {\"id\":\"a\"}"},
      {calls({{"id", "a"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "{"}}}}),
       "messages[1].tool_calls[0].function.arguments"},
      {calls({{"id", "a"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", "[]"}}}}),
       "must be the text of a JSON object"},
      {after({{"role", "assistant"}, {"tool_calls", "x"}}), "\"messages[1].tool_calls\" is \"x\": it must be a list"},
  };
  for (const auto& [more, phrase] : cases) expect_refused(ask(more), 400, phrase);
  expect_refused(post("/v1/completions", Json{{"prompt", "x"}, {"tools", tools()}}), 400, "\"tools\" is no parameter");
}

}  // namespace
}  // namespace cria::server
