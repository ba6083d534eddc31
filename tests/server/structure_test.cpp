// Answers that must fit a schema or a grammar do, whatever the model would rather say.
#include "json_validator.h"
#include "server/server_fixture.h"

namespace cria::server {
namespace {

Json schemas() {
  return parse_json(R"([
    {"type": "object", "additionalProperties": false, "required": ["name", "age", "tags", "kind"], "properties": {
       "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
       "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
       "kind": {"enum": ["cat", "dog", null]}}},
    {"type": "array", "minItems": 1, "maxItems": 3, "items": {"anyOf": [
       {"type": "number", "minimum": -2, "maximum": 2}, {"type": ["boolean", "null"]}]}},
    {"$defs": {"node": {"type": "object", "additionalProperties": false, "required": ["next"], "properties": {
       "word": {"type": "string", "minLength": 1, "maxLength": 4},
       "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}}}, "$ref": "#/$defs/node"},
    {"const": {"a": [1, "two"]}}])",
                    "schemas")
      .value();
}

class StructureTest : public ServerTest {
 protected:
  static Json body(const Json& more) {
    Json body = {{"messages", Json::array({{{"role", "user"}, {"content", "Tell me of a cat"}}})}, {"max_tokens", 70}};
    body.update(more);
    return body;
  }
  static Json format(const Json& schema) {
    return {{"type", "json_schema"}, {"json_schema", {{"name", "a"}, {"strict", true}, {"schema", schema}}}};
  }
  static std::string text_of(const Json& choice) {
    return choice.contains("message") ? choice.at("message").at("content").get<std::string>()
                                      : choice.at("text").get<std::string>();
  }

  /// The text of a chat's only answer, as a stream gives it.
  [[nodiscard]] std::string streamed(const Json& more) const {
    Json asked = body(more);
    asked["stream"] = true;
    const std::string events = post("/v1/chat/completions", asked).text;
    std::string text;
    for (size_t at = 0; at < events.size();) {
      const size_t end = events.find("\n\n", at);
      const std::string event = events.substr(at + 6, end - at - 6);
      at = end + 2;
      if (event == "[DONE]") break;
      const Json delta = parse_json(event, "event").value().at("choices").at(0).at("delta");
      if (delta.contains("content") && delta.at("content").is_string()) text += delta.at("content").get<std::string>();
    }
    return text;
  }
};

TEST_F(StructureTest, EveryAnswerToASchemaParsesAndFits) {
  start({}, 4);
  int whole = 0;
  for (const Json& schema : schemas()) {
    for (const double temperature : {0.0, 1.0}) {
      const Json more = {{"response_format", format(schema)},
                         {"temperature", temperature},
                         {"n", temperature > 0 ? 2 : 1},
                         {"seed", 7}};
      const Reply reply = post("/v1/chat/completions", body(more));
      ASSERT_EQ(reply.status, 200) << reply.text;
      for (const Json& choice : reply.json.at("choices")) {
        if (choice.at("finish_reason") != "stop") continue;
        ++whole;
        const std::string text = text_of(choice);
        const auto value = parse_json(text, "answer");
        ASSERT_TRUE(value) << text;
        EXPECT_TRUE(json_fits(*value, schema, schema)) << text << "\n" << schema.dump();
      }
    }
  }
  EXPECT_GE(whole, 8) << "of 12";
}

TEST_F(StructureTest, StreamsGiveTheSameText) {
  start({}, 2);
  const Json more = {{"response_format", format(schemas().at(1))}, {"temperature", 0}};
  const Reply whole = post("/v1/chat/completions", body(more));
  ASSERT_EQ(whole.status, 200) << whole.text;
  EXPECT_EQ(streamed(more), text_of(whole.json.at("choices").at(0)));
}

TEST_F(StructureTest, PropertiesComeInTheOrderOfTheSchema) {
  start();
  const std::string asked = R"({"prompt": "Once", "max_tokens": 60, "temperature": 0, "response_format":
    {"type": "json_schema", "json_schema": {"name": "a", "schema": {"properties": {"zebra": {"const": 1},
     "apple": {"const": 2}, "mango": {"const": 3}}, "required": ["apple", "mango", "zebra"]}}}})";
  const Reply reply = post("/v1/completions", asked);
  ASSERT_EQ(reply.status, 200) << reply.text;
  std::string text = text_of(reply.json.at("choices").at(0));
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
  EXPECT_EQ(text, R"({"zebra":1,"apple":2,"mango":3})");
}

TEST_F(StructureTest, ObjectsAndGrammarsAreFollowed) {
  start({}, 2);
  for (const int seed : {1, 2}) {
    const Reply object =
        post("/v1/chat/completions",
             body({{"response_format", {{"type", "json_object"}}}, {"temperature", 1}, {"seed", seed}}));
    ASSERT_EQ(object.status, 200) << object.text;
    const Json& choice = object.json.at("choices").at(0);
    const std::string text = text_of(choice);
    EXPECT_TRUE(text.starts_with('{')) << text;
    EXPECT_EQ(Json::parse(text, nullptr, false).is_object(), choice.at("finish_reason") == "stop") << text;
  }
  const Reply text = post("/v1/completions", Json{{"prompt", "Once upon a time there was"},
                                                  {"grammar", "root ::= \" a \" (\"cat\" | \"dog\") \".\""},
                                                  {"ignore_eos", true},
                                                  {"logprobs", 2},
                                                  {"max_tokens", 50}});
  ASSERT_EQ(text.status, 200) << text.text;
  const std::string said = text_of(text.json.at("choices").at(0));
  EXPECT_TRUE(said == " a cat." || said == " a dog.") << said;
  EXPECT_EQ(text.json.at("choices").at(0).at("finish_reason"), "stop");
}

TEST_F(StructureTest, WhatCannotBeFollowedIsRefusedWithASentence) {
  start();
  const auto ask = [&](const Json& more) { return post("/v1/chat/completions", body(more)); };
  expect_refused(ask({{"response_format", format({{"properties", {{"a", {{"not", Json::object()}}}}}})}}), 400,
                 "the schema of \"response_format\": #/properties/a: the keyword \"not\" is not supported");
  expect_refused(ask({{"grammar", "root ::= \"a"}}), 400, "the grammar: line 1, column 10");
  expect_refused(ask({{"grammar", "root ::= \"a\""}, {"response_format", {{"type", "json_object"}}}}), 400,
                 "were both given");
  expect_refused(ask({{"response_format", {{"type", "xml"}}}}), 400, "are supported");
}

}  // namespace
}  // namespace cria::server
