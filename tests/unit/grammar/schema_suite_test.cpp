// The JSON Schema test suite (Debian's json-schema-test-suite): what its schemas' grammars accept is never what the
// suite calls invalid, and what is written by them passes Python's validator.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

#include "grammar/json_schema.h"
#include "grammar/matcher.h"
#include "temporary_folder.h"

namespace cria::grammar {
namespace {

const std::filesystem::path kSuite = "/usr/share/json-schema-test-suite/tests";
const std::filesystem::path kValidator = "/usr/lib/python3/dist-packages/jsonschema";
constexpr std::array kDrafts = {"draft4", "draft6", "draft7"};

/// A schema of the suite with what fits it and what does not.
struct Group {
  std::string draft, name;
  OrderedJson schema;
  std::vector<std::pair<OrderedJson, bool>> instances;
};

void read_file(const std::filesystem::path& path, const std::string& draft, std::vector<Group>& groups) {
  std::ifstream file(path);
  const OrderedJson list = OrderedJson::parse(file);
  for (const OrderedJson& entry : list) {
    Group group{draft,
                fmt::format("{}, {}: {}", draft, path.filename().string(), std::string(entry.at("description"))),
                entry.at("schema"),
                {}};
    for (const OrderedJson& test : entry.at("tests")) group.instances.emplace_back(test.at("data"), test.at("valid"));
    groups.push_back(std::move(group));
  }
}

std::vector<Group> read_suite() {
  std::vector<Group> groups;
  for (const char* draft : kDrafts) {
    std::set<std::filesystem::path> paths;  // in the same order everywhere
    for (const auto& entry : std::filesystem::recursive_directory_iterator(kSuite / draft)) {
      // What content.json says of texts is no more than an annotation, and optional.
      const bool is_tests = entry.path().extension() == ".json" && entry.path().filename() != "content.json";
      if (is_tests) paths.insert(entry.path());
    }
    for (const auto& path : paths) read_file(path, draft, groups);
  }
  return groups;
}

void find_keys(const OrderedJson& json, std::set<std::string>& keys) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) keys.insert(key);
  }
  if (json.is_structured()) {
    for (const OrderedJson& inner : json) find_keys(inner, keys);
  }
}

bool accepts(Machine& machine, std::string_view text) {
  machine.begin_work();
  return machine.may_end(machine.step_over(machine.start(), text));
}

/// 32,000 tokens: bytes, what JSON is made of, and words.
std::shared_ptr<const Vocabulary> vocabulary() {
  std::mt19937 random(3);
  std::vector<std::string> tokens;
  for (int byte = 1; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* text :
       {"{\"",  "\":", "\": ", "\",", "\", \"", "\"}", "[]",    "{}",   "},", "], ", "true", "false",
        "null", "foo", "bar",  "baz", "é",      "日",  "\\u00", "\\\"", "0.", "10",  "1e",   "\n  "}) {
    tokens.emplace_back(text);
  }
  while (tokens.size() < 32'000) {
    std::string& token = tokens.emplace_back();
    for (uint64_t length = 2 + random() % 6; length > 0; --length) {
      token += "etaoin shrdlu,.:\"{}[]0123456789\n"[random() % 32];
    }
  }
  return std::make_shared<const Vocabulary>(tokens);
}

/// A random text by the masks, token by token; empty where it became too long. What closes something is drawn more
/// often, so that most come to their end.
std::string random_text(const std::shared_ptr<TokenMasks>& masks, std::mt19937& random) {
  constexpr size_t kMost = 600;
  Matcher matcher(masks);
  const Vocabulary& tokens = masks->vocabulary();
  std::string text;
  while (text.size() < kMost && !matcher.is_complete() && (!matcher.may_end() || random() % 3 != 0)) {
    const std::span<const uint32_t> mask = matcher.mask();
    std::vector<uint32_t> allowed;
    std::vector<uint32_t> closing;
    for (uint32_t word = 0; word < mask.size(); ++word) {
      for (uint32_t bits = mask[word]; bits != 0; bits &= bits - 1) {
        const uint32_t token = word * 32 + static_cast<uint32_t>(std::countr_zero(bits));
        const std::string_view bytes = tokens.bytes(token);
        const bool is_closing = bytes == "\"" || bytes == "}" || bytes == "]" || bytes == "\"}" || bytes == "{}";
        (is_closing ? closing : allowed).push_back(token);
      }
    }
    const bool closes = allowed.empty() || (!closing.empty() && random() % 3 == 0);
    const std::vector<uint32_t>& choice = closes ? closing : allowed;
    if (choice.empty()) return "";
    const uint32_t token = choice[random() % choice.size()];
    EXPECT_TRUE(matcher.advance(token));
    text += tokens.bytes(token);
  }
  return matcher.may_end() ? text : "";
}

class SchemaSuite : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kSuite)) {
      GTEST_SKIP() << "Debian's package json-schema-test-suite is not here: `tools/setup.sh tests` brings it";
    }
    groups_ = read_suite();
  }
  std::vector<Group> groups_;
};

TEST_F(SchemaSuite, WhatIsInvalidIsNeverAccepted) {
  size_t schemas = 0;
  size_t valid = 0;
  size_t accepted = 0;
  size_t invalid = 0;
  for (const Group& group : groups_) {
    const auto grammar = schema_grammar(group.schema, "s");
    if (!grammar) continue;
    ++schemas;
    Machine machine(std::make_shared<const Grammar>(*grammar));
    for (const auto& [instance, is_valid] : group.instances) {
      const bool is_accepted = accepts(machine, instance.dump());
      if (is_valid) {
        ++valid;
        accepted += is_accepted ? 1 : 0;
        continue;
      }
      ++invalid;
      EXPECT_FALSE(is_accepted) << group.name << ": " << instance << " by " << group.schema;
      EXPECT_FALSE(accepts(machine, instance.dump(1))) << group.name << ": " << instance << " in lines";
    }
  }
  EXPECT_GT(schemas, 200U);
  EXPECT_GT(accepted, 290U) << "less is accepted than was";
  std::printf("of %zu schemas %zu are supported; %zu of %zu valid values are accepted, and none of %zu invalid ones\n",
              groups_.size(), schemas, accepted, valid, invalid);
}

TEST_F(SchemaSuite, WhatIsNotSupportedIsRefusedByName) {
  size_t refused = 0;
  for (const Group& group : groups_) {
    const auto grammar = schema_grammar(group.schema, "s");
    if (grammar) continue;
    ++refused;
    const std::string message = grammar.error().message();
    std::set<std::string> keys;
    find_keys(group.schema, keys);
    const bool names_key =
        std::ranges::any_of(keys, [&](const std::string& key) { return message.contains("\"" + key); });
    const bool is_empty = message.contains("nothing fits");
    EXPECT_TRUE(names_key || is_empty) << message;
    if (!is_empty) continue;
    for (const auto& [instance, is_valid] : group.instances) EXPECT_FALSE(is_valid) << message << ": " << instance;
  }
  EXPECT_GT(refused, 100U);
}

/// Writes texts by schemas, with Python to judge them.
class Judge {
 public:
  Judge() : lines_(folder_.path() / "texts.jsonl"), random_(7) {}

  /// Writes some texts by a schema; false where it is not supported.
  bool add(const std::string& draft, const std::string& name, const OrderedJson& schema) {
    constexpr int kTexts = 12;
    auto grammar = schema_grammar(schema, "s");
    if (!grammar) return false;
    ++schemas_;
    const auto masks = std::make_shared<TokenMasks>(std::make_shared<const Grammar>(*std::move(grammar)), tokens_);
    const std::clock_t begin = std::clock();
    EXPECT_FALSE(Matcher(masks).is_stuck()) << name;
    slowest_ = std::max(slowest_, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
    OrderedJson line = {{"draft", draft}, {"name", name}, {"schema", schema}};
    line["texts"] = OrderedJson::array();
    for (int i = 0; i < kTexts; ++i) {
      const std::string text = random_text(masks, random_);
      if (!text.empty()) line["texts"].push_back(text);
    }
    written_ += line["texts"].size();
    lines_ << line.dump() << "\n";
    return true;
  }

  void expect_all_fit() {
    lines_.close();
    std::printf("%zu texts by %zu schemas; the slowest first mask took %.2f ms\n", written_, schemas_, 1e3 * slowest_);
    EXPECT_GT(written_, 6 * schemas_) << "too many do not come to their end";
    EXPECT_LT(slowest_, 0.05);
    const std::string script = std::string(CRIA_SOURCE_DIR) + "/tests/unit/grammar/validate_texts.py";
    const std::string command =
        fmt::format("/usr/bin/python3 -W ignore {} {} >{}", script, (folder_.path() / "texts.jsonl").string(),
                    (folder_.path() / "out").string());
    const int code = std::system(command.c_str());
    std::ifstream out(folder_.path() / "out");
    EXPECT_EQ(code, 0) << std::string(std::istreambuf_iterator<char>(out), {});
  }

 private:
  TemporaryFolder folder_;
  std::ofstream lines_;
  std::shared_ptr<const Vocabulary> tokens_ = vocabulary();
  std::mt19937 random_;
  size_t schemas_ = 0;
  size_t written_ = 0;
  double slowest_ = 0;
};

bool has_validator() { return std::filesystem::exists(kValidator); }
constexpr const char* kNoValidator =
    "Debian's package python3-jsonschema is not here: `tools/setup.sh tests` brings it";

TEST_F(SchemaSuite, WhatIsWrittenFits) {
  if (!has_validator()) GTEST_SKIP() << kNoValidator;
  Judge judge;
  std::set<std::string> done;
  for (const Group& group : groups_) {
    if (done.insert(group.schema.dump()).second) judge.add(group.draft, group.name, group.schema);
  }
  judge.expect_all_fit();
}

/// Makes schemas up, of all keywords that are supported.
class RandomSchemas {
 public:
  OrderedJson operator()(int depth) {
    switch (below(depth > 0 ? 13 : 6)) {
      case 0: return bounded({{"type", "integer"}}, "minimum", "maximum", 40, true);
      case 1: return bounded({{"type", "number"}}, "minimum", "maximum", 40, true);
      case 2: return bounded({{"type", "string"}}, "minLength", "maxLength", 6, false);
      case 3:
        return {{"type", "string"}, {"pattern", one_of<const char*>({"^[a-c]+$", "x|yz", "^\\d{2,3}(-\\w)?$", "é*"})}};
      case 4: return {{"enum", {1, "a", nullptr, {{"k", 1.5}}, OrderedJson::array({true})}}};
      case 5: return {{"type", {one_of<const char*>({"string", "boolean"}), one_of<const char*>({"null", "integer"})}}};
      case 6: return bounded({{"type", "array"}, {"items", (*this)(depth - 1)}}, "minItems", "maxItems", 3, false);
      case 7:
        return {{"type", "array"},
                {"items", OrderedJson::array({(*this)(depth - 1), (*this)(depth - 1)})},
                {"additionalItems", below(2) == 0 ? OrderedJson(false) : (*this)(depth - 1)}};
      case 8: return {{"anyOf", OrderedJson::array({(*this)(depth - 1), (*this)(depth - 1)})}};
      case 9: return {{"oneOf", OrderedJson::array({(*this)(depth - 1), (*this)(depth - 1)})}};
      case 10: return {{"allOf", OrderedJson::array({object(depth), object(depth)})}};
      case 11: return {{"$ref", "#/definitions/list"}};
      default: return object(depth);
    }
  }

 private:
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  template <typename T>
  T one_of(std::vector<T> values) {
    return values[below(static_cast<uint32_t>(values.size()))];
  }
  OrderedJson bounded(OrderedJson schema, const char* least, const char* most, int range, bool is_signed) {
    const int low = static_cast<int>(below(static_cast<uint32_t>(range))) - (is_signed ? range / 2 : 0);
    if (below(2) == 0) schema[least] = low;
    if (below(2) == 0) schema[most] = low + static_cast<int>(below(static_cast<uint32_t>(range)));
    return schema;
  }
  OrderedJson object(int depth) {
    OrderedJson schema = {
        {"type", "object"}, {"properties", OrderedJson::object()}, {"required", OrderedJson::array()}};
    for (const char* name : {"b", "a", "é\"", "foo"}) {
      if (below(2) == 0) schema["properties"][name] = (*this)(depth - 1);
      if (below(3) == 0) schema["required"].push_back(name);
    }
    if (below(2) == 0) schema["additionalProperties"] = below(2) == 0 ? OrderedJson(below(2) == 0) : (*this)(depth - 1);
    return schema;
  }
  std::mt19937 random_{11};
};

TEST(RandomSchemas, WhatIsWrittenFits) {
  if (!has_validator()) GTEST_SKIP() << kNoValidator;
  const OrderedJson list = {{"type", "array"},
                            {"maxItems", 2},
                            {"items", {{"anyOf", {{{"type", "null"}}, {{"$ref", "#/definitions/list"}}}}}}};
  RandomSchemas schemas;
  Judge judge;
  int supported = 0;
  for (int i = 0; i < 400; ++i) {
    OrderedJson schema = schemas(2);
    schema["definitions"] = {{"list", list}};
    supported += judge.add("draft7", fmt::format("random schema {}", i), schema) ? 1 : 0;
  }
  EXPECT_GT(supported, 200);
  judge.expect_all_fit();
}

}  // namespace
}  // namespace cria::grammar
