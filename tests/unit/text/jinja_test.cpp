// The interpreter of chat templates against Jinja itself: tests/golden/make_jinja.py wrote what that gives.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "text/jinja_interpreter.h"

namespace cria::text::jinja {
namespace {

Json golden() {
  std::ifstream file(CRIA_SOURCE_DIR "/tests/golden/jinja/golden.json", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_json(text, "golden.json").value();
}

/// Values with dictionaries in the order of Python's, which Json does not keep.
Entries variables(const Json& json) {
  Entries entries;
  for (const auto& [name, value] : json.items()) entries.emplace_back(Value::string(name), Value::from_json(value));
  for (auto& [name, value] : entries) {
    if (*name.as_string() != "d") continue;
    const Json& d = json.at("d");
    value = Value::dict({{Value::string("b"), Value::from_json(d.at("b"))},
                         {Value::string("a"), Value::from_json(d.at("a"))},
                         {Value::string("items"), Value::from_json(d.at("items"))}});
  }
  return entries;
}

Result<std::string> render(const std::string& source, const Entries& with) {
  CRIA_TRY_ASSIGN(const Block block, parse(source));
  Budget budget(1'000'000, 1'000'000);
  return Interpreter(budget, 100'000).run(block, with);
}

TEST(Jinja, MakesOfATemplateWhatJinjaMakes) {
  const Json file = golden();
  const Entries with = variables(file.at("variables"));
  ASSERT_GT(file.at("cases").size(), 80U);
  for (const Json& example : file.at("cases")) {
    const std::string source = example.at("source");
    SCOPED_TRACE(source);
    const auto text = render(source, with);
    if (example.contains("error")) {
      EXPECT_FALSE(text) << *text << "\ninstead of the error: " << example.at("error");
    } else if (text) {
      EXPECT_EQ(*text, example.at("text").get<std::string>());
    } else {
      ADD_FAILURE() << text.error().message() << "\ninstead of: " << example.at("text");
    }
  }
}

}  // namespace
}  // namespace cria::text::jinja
