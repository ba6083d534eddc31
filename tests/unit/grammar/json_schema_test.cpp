// Grammars of JSON Schemas: what they accept, what they reject, and what is refused.
#include "grammar/json_schema.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "grammar/json_numbers.h"
#include "grammar/json_pattern.h"
#include "grammar/machine.h"

namespace cria::grammar {
namespace {

OrderedJson json_of(std::string_view text) {
  auto json = parse_ordered_json(text, "schema");
  if (!json) ADD_FAILURE() << json.error().message() << "\n" << text;
  return json ? *json : OrderedJson();
}

std::unique_ptr<Machine> machine_of(const OrderedJson& schema) {
  auto grammar = schema_grammar(schema, "schema");
  if (!grammar) ADD_FAILURE() << grammar.error().message() << "\n" << schema.dump();
  if (!grammar) return nullptr;
  return std::make_unique<Machine>(std::make_shared<const Grammar>(*std::move(grammar)));
}

bool accepts(Machine& machine, std::string_view text) {
  machine.begin_work();
  return machine.may_end(machine.step_over(machine.start(), text));
}

struct Case {
  const char* schema;
  std::vector<const char*> yes, no;
};

void check(const Case& test) {
  const auto machine = machine_of(json_of(test.schema));
  ASSERT_NE(machine, nullptr);
  for (const char* text : test.yes) EXPECT_TRUE(accepts(*machine, text)) << test.schema << "\n" << text;
  for (const char* text : test.no) EXPECT_FALSE(accepts(*machine, text)) << test.schema << "\n" << text;
}

TEST(JsonSchema, TypesAcceptTheirValues) {
  const Case cases[] = {
      {R"({"type":"null"})", {"null"}, {"true", "", " null"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"null", "0"}},
      {R"({"type":"integer"})", {"0", "-7", "1234567890123456"}, {"01", "1.0", "1e3", "-", "+1", "12345678901234567"}},
      {R"({"type":"number"})", {"0", "-0.5", "1e3", "12.25E-07"}, {".5", "1.", "1e", "1e100", "NaN"}},
      {R"({"type":"string"})",
       {R"("")", R"("aé😀")", R"("\"\\\/\b\f\n\r\té\ud83D\uDE00")"},
       {"\"\n\"", R"("\ud83d")", R"("\ude00")", R"("\ud83dA")", R"("\x41")", "\"", "a"}},
      {R"({"type":["integer","null"]})", {"1", "null"}, {"\"1\"", "1.5"}},
      {R"({"type":"integer","nullable":true})", {"1", "null"}, {"false"}},
      {R"({"type":"object"})", {"{}", R"({"a":1, "b":{"c":[]}})", "{\n  \"a\": 1\n}"}, {"[]", R"({"a"})", R"({,})"}},
      {R"({"type":"array"})", {"[]", R"([1,"a",null, {}])"}, {"{}", "[,]", "[1,]"}},
      {"{}", {"1", "{}", "[[]]", "\"x\""}, {"", "x"}},
      {"true", {"1", "{}"}, {""}},
      {R"({"title":"T","description":"D","default":1,"examples":[1],"$schema":"s","$id":"i","$comment":"c","x-y":1})",
       {"1"},
       {}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, StringsHaveLengthsPatternsAndFormats) {
  const Case cases[] = {
      {R"({"type":"string","minLength":2,"maxLength":3})", {R"("ab")", R"("é\n😀")"}, {R"("a")", R"("abcd")"}},
      {R"({"minLength":1})", {R"("a")"}, {R"("")", "1"}},
      {R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}},
      {R"({"type":"string","pattern":"^[A-Z]{2}-\\d+$"})", {R"("AB-12")"}, {R"("AB-")", R"("xAB-1")", R"("AB-1x")"}},
      {R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc")"}, {R"("ac")", R"("")"}},
      {R"({"type":"string","pattern":"^(a|b\"|\\\\)*$"})", {R"("")", R"("ab\"\\a")"}, {R"("b")", R"("c")"}},
      {R"({"format":"date"})", {R"("2024-02-28")", R"("1999-12-31")"}, {R"("2024-02-30")", R"("2024-13-01")"}},
      {R"({"type":"string","format":"date-time"})",
       {R"("2024-01-02T03:04:05Z")", R"("2024-01-02T03:04:05.123+01:00")"},
       {R"("2024-01-02")", R"("2024-01-02T24:04:05Z")"}},
      {R"({"type":"string","format":"time"})", {R"("23:59:59Z")"}, {R"("23:59:60Z")", R"("23:59:59")"}},
      {R"({"type":"string","format":"duration"})", {R"("P1Y2M3DT4H")", R"("PT5S")", R"("P3W")"}, {R"("P")", R"("PT")"}},
      {R"({"type":"string","format":"uuid"})",
       {R"("123e4567-e89b-12d3-a456-426614174000")"},
       {R"("123e4567e89b12d3a456426614174000")"}},
      {R"({"type":"string","format":"ipv4"})", {R"("192.168.0.255")"}, {R"("192.168.0.256")", R"("1.2.3")"}},
      {R"({"type":"string","format":"email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"("@example.org")"}},
      {R"({"type":"string","format":"hostname"})", {R"("a-b.example")"}, {R"("-a")"}},
      {R"({"type":"string","format":"uri"})", {R"("https://example.org/a?b=c")", R"("mailto:a@b")"}, {R"("example")"}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, NumbersHaveBounds) {
  const Case cases[] = {
      {R"({"type":"integer","minimum":0})", {"0", "5", "100"}, {"-1", "-0"}},
      {R"({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":10})", {"1", "9"}, {"0", "10", "-1"}},
      {R"({"type":"integer","minimum":1.5,"maximum":3.5})", {"2", "3"}, {"1", "4"}},
      {R"({"type":"number","minimum":0,"maximum":1})", {"0", "0.5", "1", "1.0", "0.999"}, {"1.1", "-0.5", "2", "1e0"}},
      {R"({"type":"number","minimum":-2})", {"-2", "-2.0", "-1.5", "0.1", "7.5"}, {"-2.1", "-3"}},
      {R"({"maximum":-3})", {"-3", "-3.5", "-100"}, {"-2.9", "0", "3"}},
      {R"({"type":"integer","multipleOf":1})", {"3"}, {}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, BoundsOfIntegersAreExact) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int range = round % 2 == 0 ? 30 : 3000;
    auto low = static_cast<int64_t>(random() % (2U * static_cast<uint32_t>(range))) - range;
    auto high = static_cast<int64_t>(random() % (2U * static_cast<uint32_t>(range))) - range;
    if (low > high) std::swap(low, high);
    const auto grammar = Grammar::parse("root ::= " + integers_between(low, high), "g");
    ASSERT_TRUE(grammar) << grammar.error().message();
    Machine machine(std::make_shared<const Grammar>(*grammar));
    for (int64_t value = low - 15; value <= high + 15; value += 1 + value % 3 * value % 2) {
      ASSERT_EQ(accepts(machine, std::to_string(value)), value >= low && value <= high)
          << value << " in " << low << " to " << high;
    }
    EXPECT_FALSE(accepts(machine, "00"));
    EXPECT_FALSE(accepts(machine, "-0"));
  }
}

TEST(JsonSchema, ListsHaveItemsAndLengths) {
  const Case cases[] = {
      {R"({"items":{"type":"integer"}})", {"[]", "[1]", "[1, 2,3]"}, {"[\"a\"]", "1"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
       {"[1,2]", "[1,2,3]"},
       {"[]", "[1]", "[1,2,3,4]"}},
      {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
      {R"({"type":"array","maxItems":1})", {"[]", "[1]"}, {"[1,2]"}},
      {R"({"type":"array","minItems":1})", {"[1]", "[1,2]"}, {"[]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},false,{"type":"null"}]})", {"[]", "[1]"}, {"[1,2]"}},
      {R"({"type":"array","items":[{"type":"integer"}],"additionalItems":{"type":"null"},"minItems":1})",
       {"[1]", "[1,null]"},
       {"[]", "[1,1]"}},
      {R"({"allOf":[{"prefixItems":[{"type":"integer"}]},{"items":{"minimum":3},"minItems":1}]})", {"[3]"}, {"[2]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
       {"[]", "[1]", "[1,\"a\"]"},
       {"[\"a\"]", "[1,\"a\",2]", "[1,2]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"},"minItems":2})",
       {"[1,\"a\"]", "[1,\"a\",null,null]"},
       {"[]", "[1]", "[1,\"a\",1]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":3,"maxItems":3})",
       {"[1,null,null]"},
       {"[1,null]", "[1,null,null,null]", "[1]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"maxItems":1})",
       {"[]", "[1]"},
       {"[1,\"a\"]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"minItems":2})", {"[1,{}]"}, {"[1]"}},
      {R"({"type":"array","items":false})", {"[]"}, {"[1]"}},
      {R"({"type":"array","uniqueItems":false})", {"[1,1]"}, {}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, ObjectsHavePropertiesInTheirOrder) {
  const Case cases[] = {
      {R"({"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"string"}},"required":["b","a"]})",
       {R"({"b":1,"a":"x"})", R"({ "b": 1, "a": "x" })", "{\n  \"b\": 1,\n  \"a\": \"x\"\n}"},
       {R"({"a":"x","b":1})", R"({"b":1})", "{}", R"({"b":1,"a":"x","c":1})", R"({"b":"1","a":"x"})"}},
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},"required":["b"]})",
       {R"({"b":null})", R"({"a":null,"b":null})", R"({"b":null,"c":null})", R"({"a":null,"b":null,"c":null})"},
       {"{}", R"({"a":null})", R"({"a":null,"c":null})", R"({"b":null,"a":null})", R"({,"b":null})"}},
      {R"({"properties":{"a":{"type":"null"},"b":{"type":"null"}}})",
       {"{}", R"({"a":null})", R"({"b":null})", R"({"a":null,"b":null})"},
       {R"({"c":null})", R"({"a":null,})"}},
      {R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"x":1,"\n":2})"}, {R"({"x":"y"})"}},
      {R"({"type":"object","properties":{"ab":{"type":"null"},"a":{"type":"null"}},"required":["ab"],
           "additionalProperties":{"type":"integer"}})",
       {R"({"ab":null})", R"({"ab":null,"a":null})", R"({"ab":null,"abc":1,"b":2,"":3,"é":4})",
        R"({"ab":null,"aé":1})"},
       {R"({"ab":null,"a":1})", R"({"ab":null,"ab":1})", R"({"ab":1})", R"({"x":1})", R"({"ab":null,"a":null,"a":1})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object","required":["a"]})", {R"({"a":1})"}, {"{}"}},
      {R"({"type":"object","required":["a"],"minProperties":1})", {R"({"a":1})"}, {"{}"}},
      {R"({"properties":{"a":true,"b":false}})", {"{}", R"({"a":[]})"}, {R"({"b":1})"}},
      {R"({"properties":{"q\"\\é\n":{"type":"null"}},"required":["q\"\\é\n"]})", {R"({"q\"\\é\n":null})"}, {"{}"}},
      {R"({"properties":{"\"":{"type":"null"}},"additionalProperties":{"type":"integer"}})",
       {R"({"\"":null})", R"({"\"":null,"a":1})", R"({"a":1})"},
       {R"({"\"":1})", R"({"\"":null,"\"":1})", R"({"\u0022":1})"}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, ValuesAreChosenFrom) {
  const Case cases[] = {
      {R"({"enum":["a","b\"",1,1.5,null,true,[1,{"x":2}]]})",
       {"\"a\"", R"("b\"")", "1", "1.5", "null", "true", R"([1,{"x":2}])"},
       {"\"c\"", "2", "a"}},
      {R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"}},
      {R"({"const":{"a":[]}})", {R"({"a":[]})"}, {"{}"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"1", "\"a\""}, {"\"ab\"", "null"}},
      {R"({"oneOf":[{"type":"integer"},{"type":"null"}]})", {"1", "null"}, {"\"a\""}},
      {R"({"anyOf":[false,{"type":"null"}]})", {"null"}, {"1"}},
      {R"({"oneOf":[{"properties":{"k":{"const":"a"},"x":{"type":"null"}},"required":["k"]},
                    {"$ref":"#/$defs/b"}],"$defs":{"b":{"properties":{"k":{"enum":["b","c"]}}}}})",
       {R"({"k":"a","x":null})", R"({"k":"b"})"},
       {R"({"k":"b","x":null})", R"({"k":"d"})"}},
      {R"({"discriminator":{"propertyName":"k"},"oneOf":[{"properties":{"k":{"const":1}}},{"properties":{"k":{"const":2}}}]})",
       {R"({"k":1})", R"({"k":2})"},
       {"{}"}},
      {R"({"type":"string","oneOf":[{"maxLength":2},{"minLength":4}]})", {"\"a\"", "\"abcd\""}, {"\"abc\"", "1"}},
      {R"({"type":"integer","oneOf":[{"exclusiveMaximum":2},{"minimum":2,"maximum":9}]})", {"1", "2"}, {"10"}},
      {R"({"oneOf":[{"enum":[1,"a"]},{"const":"b"},{"type":"array","maxItems":1},{"type":"array","minItems":2}]})",
       {"1", "\"b\"", "[]", "[1,2]"},
       {"2"}},
      {R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],
           "anyOf":[{"properties":{"k":{"const":"x"}}},{"properties":{"n":{"type":"integer"}},"required":["n"]}]})",
       {R"({"k":"x"})", R"({"k":"y","n":1})"},
       {R"({"k":"y"})", R"({"n":1})"}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, PartsHoldTogether) {
  const Case cases[] = {
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"}}}]})",
       {R"({"a":1})", R"({"a":1,"b":null})"},
       {"{}", R"({"b":null})", R"({"a":"x"})"}},
      {R"({"allOf":[{"type":["integer","null"],"minimum":2},{"type":"number","minimum":1,"maximum":5}]})",
       {"2", "5"},
       {"1", "6", "null"}},
      {R"({"allOf":[{"properties":{"a":{"minimum":1}}},{"properties":{"a":{"type":"integer"}},"required":["a"]}]})",
       {R"({"a":1})"},
       {R"({"a":0})", R"({"a":1.5})", "{}"}},
      {R"({"allOf":[{"enum":[1,2,3]},{"enum":[2,3,4]}]})", {"2", "3"}, {"1", "4"}},
      {R"({"$defs":{"s":{"type":"string"}},"allOf":[{"$ref":"#/$defs/s"}],"maxLength":2})",
       {"\"ab\""},
       {"\"abc\"", "1"}},
      {R"({"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s","maxLength":2})", {"\"ab\""}, {"\"abc\""}},
  };
  for (const Case& test : cases) check(test);
}

TEST(JsonSchema, DefinitionsMayReferToThemselves) {
  check({R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
            "next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
         {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
         {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}});
  check({R"({"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"required":["children"]})",
         {R"({"children":[]})", R"({"children":[{"children":[]},{"children":[{"children":[]}]}]})"},
         {R"({"children":[1]})"}});
  check({R"({"definitions":{"a/b~c":{"type":"null"}},"items":{"$ref":"#/definitions/a~1b~0c"}})", {"[null]"}, {"[1]"}});
  check({R"({"prefixItems":[{"type":"null"},{"$ref":"#/prefixItems/0"}]})", {"[null,null]"}, {"[null,1]"}});
}

TEST(JsonSchema, WhatIsNotSupportedIsRefusedByNameAndPath) {
  struct Refused {
    const char* schema;
    const char* phrase;
  };
  const Refused cases[] = {
      {R"({"properties":{"a":{"not":{}}}})", "schema: #/properties/a: the keyword \"not\" is not supported"},
      {R"({"patternProperties":{}})", "the keyword \"patternProperties\" is not supported"},
      {R"({"if":{}})", "the keyword \"if\""},
      {R"({"type":"array","uniqueItems":true})", "\"uniqueItems\" is not supported"},
      {R"({"type":"integer","multipleOf":2})", "\"multipleOf\": 2 is not supported"},
      {R"({"type":"number","minimum":0.5})", "\"minimum\": 0.5 is not supported for numbers"},
      {R"({"type":"number","exclusiveMinimum":0})", "\"exclusiveMinimum\": 0 is not supported for numbers"},
      {R"({"type":"string","format":"regex"})", "\"format\" is \"regex\", which is not supported"},
      {R"({"type":"string","pattern":"a","maxLength":2})", "only one of \"pattern\", \"format\" and a length"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "the pattern at byte 3: a group that begins with \"(?\""},
      {R"({"type":"string","pattern":"\\bx"})", "\"\\b\" is not supported"},
      {R"({"type":"string","pattern":"(a)\\1"})", "\"\\1\" is not supported"},
      {R"({"type":"string","pattern":"a$b"})", "\"$\" that is not at the end"},
      {R"({"type":"string","pattern":"("})", "a group has no \")\""},
      {R"({"type":"string","pattern":"[a"})", "a class has no \"]\""},
      {R"({"type":"string","pattern":"a**"})", "a repetition is repeated"},
      {R"({"$ref":"http://x/y"})", "does not begin with #"},
      {R"({"$ref":"#/$defs/x"})", "leads to nothing in the schema"},
      {R"({"type":"thing"})", "\"type\" is or holds \"thing\""},
      {R"({"type":[]})", "\"type\" is an empty list"},
      {R"({"enum":[]})", "\"enum\" is []: it must be a list with something in it"},
      {R"({"type":"string","enum":[1]})", "no value of \"enum\" or \"const\" has the \"type\""},
      {R"({"enum":["a"],"maxLength":1})", "\"maxLength\" beside \"enum\""},
      {R"({"properties":{"a":5}})", "#/properties/a: 5 is no schema"},
      {R"({"type":"integer","minimum":2,"maximum":1})", "no number is at least 2 and at most 1"},
      {R"({"type":"string","minLength":2,"maxLength":1})", "\"minLength\" is 2, above \"maxLength\", which is 1"},
      {R"({"type":"array","minItems":2,"maxItems":1})", "\"minItems\" is 2, above \"maxItems\", which is 1"},
      {R"({"type":"string","minLength":-1})", "\"minLength\" is -1"},
      {R"({"type":"string","minLength":20000})", "\"minLength\" is 20000"},
      {R"({"required":["a"],"additionalProperties":false})", "the property \"a\" is required, and not allowed"},
      {R"({"minProperties":1})", "\"minProperties\": 1 is not supported"},
      {R"({"properties":{"a":false},"required":["a"]})", "#/properties/a: nothing fits this schema"},
      {R"({"allOf":[{"type":"string"},{"type":"null"}]})", "nothing fits #: \"type\" is said twice"},
      {R"({"anyOf":[]})", "\"anyOf\" is []"},
      {R"({"oneOf":[false]})", "nothing fits \"oneOf\""},
      {R"({"oneOf":[{"type":"integer"},{"minimum":2}]})", "\"oneOf\": the alternatives 0 and 1 may both fit a value"},
      {R"({"oneOf":[{"const":1},{"type":"string"},{"properties":{"a":{"const":2}}},{"enum":[3]}]})",
       "alternatives 0 and 2"},
      {R"({"oneOf":[{"type":"object"},{"type":"null"},{"properties":{"a":{}},"type":"object"}]})",
       "alternatives 0 and 2"},
      {R"({"type":"array","prefixItems":[false],"minItems":1})", "nothing fits this schema"},
      {R"({"type":"array","prefixItems":[{}],"items":false,"minItems":3})",
       "\"minItems\" is 3, and the list can have at most 1"},
      {R"({"type":"array","items":false,"minItems":1})", "\"minItems\" is 1, and the list can have at most 0"},
      {R"({"type":"string","pattern":1})", "\"pattern\" is 1: a string is expected"},
      {R"({"allOf":{}})", "\"allOf\" is {}: a list of schemas is expected"},
      {R"({"const":1,"enum":[2]})", "\"const\" is 1, which is not in \"enum\""},
      {"false", "nothing fits this schema"},
      {"[]", "[] is no schema"},
  };
  for (const Refused& test : cases) {
    const auto rules = schema_rules(json_of(test.schema), "schema");
    ASSERT_FALSE(rules) << test.schema;
    EXPECT_NE(rules.error().message().find(test.phrase), std::string::npos) << rules.error().message();
  }
}

TEST(JsonSchema, SelfReferenceWithoutEndIsRefused) {
  for (const char* schema :
       {R"({"$ref":"#"})", R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})",
        R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", R"({"allOf":[{"$ref":"#"}]})",
        R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})",
        R"({"type":"object","properties":{"a":{"$ref":"#"}},"anyOf":[{"$ref":"#"},{}]})"}) {
    const auto grammar = schema_grammar(json_of(schema), "schema");
    ASSERT_FALSE(grammar) << schema;
    EXPECT_LT(grammar.error().message().size(), 500U);
  }
}

TEST(JsonSchema, SizesAreLimitedAndTakeLittleTime) {
  const auto start = std::chrono::steady_clock::now();
  const auto refused = [](const OrderedJson& schema) { return !schema_grammar(schema, "schema"); };
  OrderedJson values = OrderedJson::array();
  for (int i = 0; i < 100'000; ++i) values.push_back(i);
  EXPECT_TRUE(refused({{"enum", values}}));
  EXPECT_TRUE(refused({{"required", std::vector<std::string>(1, "a")}, {"properties", values}}));
  EXPECT_TRUE(refused({{"type", "string"}, {"pattern", std::string(5000, '(') + std::string(5000, ')')}}));
  EXPECT_TRUE(refused({{"type", "string"}, {"pattern", "((((a{9999}){9999}){9999}){9999}){9999}"}}));
  EXPECT_TRUE(refused({{"type", "string"}, {"pattern", std::string(60'000, 'a')}}));
  // Each definition uses the next one twice.
  for (const char* const kind : {"anyOf", "allOf", "items"}) {
    OrderedJson definitions = OrderedJson::object();
    for (int i = 0; i < 60; ++i) {
      const OrderedJson next = {{"$ref", fmt::format("#/$defs/d{}", i + 1)}, {"maxItems", 50}};
      OrderedJson& own = definitions[fmt::format("d{}", i)];
      own = kind == std::string_view("items") ? OrderedJson{{"items", next}, {"maxItems", 50}}
                                              : OrderedJson{{kind, OrderedJson::array({next, next})}};
    }
    definitions["d60"] = true;
    const OrderedJson schema = {{"$defs", definitions}, {"$ref", "#/$defs/d0"}};
    const bool is_small = kind == std::string_view("items");  // each is a rule that the next one uses
    EXPECT_EQ(refused(schema), !is_small) << kind;
  }
  // Each part demands names that no other does.
  for (const char* const key : {"required", "enum"}) {
    OrderedJson parts = OrderedJson::array();
    for (int part = 0; part < 100; ++part) {
      OrderedJson list = OrderedJson::array();
      for (int i = 0; i < 5000; ++i)
        list.push_back(fmt::format("name {} of the parts", key[0] == 'r' ? 5000 * part + i : i - part));
      parts.push_back({{key, list}});
    }
    EXPECT_TRUE(refused({{"allOf", parts}})) << key;
  }
  OrderedJson properties = OrderedJson::object();
  for (int i = 0; i < 1000; ++i) properties[fmt::format("property{}", i)] = {{"type", "string"}, {"maxLength", 100}};
  EXPECT_FALSE(refused({{"properties", properties}, {"additionalProperties", {{"type", "integer"}}}}));
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(taken.count(), 10);
}

/// What a grammar lets through when bytes are taken at random is JSON.
TEST(JsonSchema, RandomTextsOfAnyObjectAreJson) {
  const auto grammar = object_grammar();
  ASSERT_TRUE(grammar) << grammar.error().message();
  std::mt19937 random(5);
  int whole = 0;
  for (int round = 0; round < 300; ++round) {
    Machine machine(std::make_shared<const Grammar>(*grammar), {.depth = 40});
    uint32_t set = machine.start();
    std::string text;
    const std::string_view liked = "\"}]:,{[0123456789truefalsnl\\ud8 \n";
    while (machine.may_go_on(set) && text.size() < 3000) {
      const bool is_liked = random() % 8 != 0;
      const auto byte = static_cast<uint8_t>(is_liked ? liked[random() % liked.size()] : random() % 256);
      const uint32_t next = machine.step(set, machine.grammar().class_of(byte));
      if (next == Machine::kDead) continue;
      set = next;
      text += static_cast<char>(byte);
    }
    if (!machine.may_end(set)) continue;
    ++whole;
    EXPECT_TRUE(parse_json(text, "text", {.max_depth = 100, .allow_duplicate_keys = true})) << text;
  }
  EXPECT_GT(whole, 100);
}

}  // namespace
}  // namespace cria::grammar
