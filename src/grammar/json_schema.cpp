#include "grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/json_fields.h"
#include "grammar/characters.h"
#include "grammar/json_numbers.h"
#include "grammar/json_pattern.h"
#include "grammar/json_rules.h"
#include "grammar/schema_merge.h"
#include "grammar/schema_overlap.h"

namespace cria::grammar {
namespace {

constexpr size_t kMaxEnumValues = 5000;  // of a whole schema, as of properties
constexpr size_t kMaxProperties = 5000;
constexpr size_t kMaxRulesBytes = size_t{1} << 20U;
constexpr uint32_t kMaxDepth = 100;

bool is_known(std::string_view keyword) {
  static const std::set<std::string_view> others = {"type",  "enum",  "const", "anyOf",
                                                    "oneOf", "allOf", "$ref",  "nullable"};
  return others.contains(keyword) || is_annotation(keyword) ||
         std::ranges::any_of(keywords_of_types(), [&](const auto& type) { return type.second.contains(keyword); });
}

/// Text as it stands in a grammar, between quotes.
std::string in_grammar(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<uint8_t>(c) < 0x20) {
      result += fmt::format("\\x{:02X}", static_cast<uint8_t>(c));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string literal(const OrderedJson& value) {
  return in_grammar(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
}

/// How often something may come, as a repetition.
std::string counts(uint64_t least, std::optional<uint64_t> most) {
  if (least == 0 && !most) return "*";
  return most ? fmt::format("{{{},{}}}", least, *most) : fmt::format("{{{},}}", least);
}

/// Objects, lists and values in a value, itself included.
size_t nodes_in(const OrderedJson& value) {
  size_t count = 1;
  if (value.is_structured()) {
    for (const OrderedJson& inner : value) count += nodes_in(inner);
  }
  return count;
}

class Writer {
 public:
  /// What names of rules begin with, so that those of several schemas can stand in one grammar.
  Writer(const OrderedJson& root, std::string prefix) : root_(root), prefix_(std::move(prefix)) {}

  /// The rules, the first of which accepts the value; without those that schemas share.
  Result<std::string> write(const std::string& first) {
    CRIA_TRY_ASSIGN(const std::string value, this->value(root_, "#"));
    std::string text = fmt::format("{} ::= {}\n", first, value);
    for (const auto& [name, rule] : rules_) text += fmt::format("{} ::= {}\n", name, rule);
    return text;
  }

 private:
  template <typename... Args>
  [[nodiscard]] static std::unexpected<Error> wrong(const std::string& path, fmt::format_string<Args...> format,
                                                    Args&&... args) {
    return fail(ErrorCode::kInvalidInput, "{}: {}", shown_path(path), fmt::format(format, std::forward<Args>(args)...));
  }
  [[nodiscard]] static std::unexpected<Error> unsupported(const std::string& path, std::string_view what) {
    return fail(ErrorCode::kUnsupported, "{}: {}", shown_path(path), what);
  }
  [[nodiscard]] static std::string said(const OrderedJson& value) {
    return shown(Json::parse(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)));
  }

  /// The name of a rule; equal ones are written once.
  Result<std::string> rule(const std::string& hint, std::string body) {
    const auto known = names_.find(body);
    if (known != names_.end()) return known->second;
    const std::string name = new_name(hint);
    names_.emplace(body, name);
    CRIA_TRY(add_rule(name, std::move(body)));
    return name;
  }
  Status add_rule(const std::string& name, std::string body) {
    bytes_ += name.size() + body.size();
    if (bytes_ > kMaxRulesBytes) {
      return fail(ErrorCode::kInvalidInput, "the schema is too large: its grammar has more than {} bytes",
                  with_commas(kMaxRulesBytes));
    }
    rules_.emplace_back(name, std::move(body));
    return {};
  }
  std::string new_name(const std::string& hint) {
    std::string name = prefix_;
    for (const char c : hint.substr(0, 30)) {
      const bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      name += fits ? c : '-';
    }
    return fmt::format("{}-{}", name, ++named_);
  }

  Result<const OrderedJson*> target(const std::string& reference, const std::string& path) const {
    if (!reference.starts_with('#')) {
      return unsupported(path,
                         fmt::format("\"$ref\": \"{}\" does not begin with #: only definitions of the same schema "
                                     "are supported",
                                     reference.substr(0, 100)));
    }
    const OrderedJson* at = &root_;
    for (size_t begin = 1; begin < reference.size();) {
      const size_t end = std::min(reference.find('/', begin + 1), reference.size());
      std::string key = reference.substr(begin + 1, end - begin - 1);
      for (size_t tilde = key.find('~'); tilde != std::string::npos; tilde = key.find('~', tilde + 1)) {
        if (key.substr(tilde, 2) == "~1") key.replace(tilde, 2, "/");
        if (key.substr(tilde, 2) == "~0") key.replace(tilde, 2, "~");
      }
      const OrderedJson* next = nullptr;
      if (at->is_object() && reference[begin] == '/') {
        if (const auto found = at->find(key); found != at->end()) next = &*found;
      } else if (at->is_array() && !key.empty() && key.size() < 6 &&
                 key.find_first_not_of("0123456789") == std::string::npos && std::stoul(key) < at->size()) {
        next = &(*at)[std::stoul(key)];
      }
      if (next == nullptr) {
        return wrong(path, "\"$ref\": \"{}\" leads to nothing in the schema", reference.substr(0, 100));
      }
      at = next;
      begin = end;
    }
    return at;
  }

  /// The rule for a definition, made when it is first referred to: it may refer to itself.
  Result<std::string> referred(const std::string& reference, const std::string& path) {
    if (const auto known = references_.find(reference); known != references_.end()) return known->second;
    CRIA_TRY_ASSIGN(const OrderedJson* const definition, target(reference, path));
    const std::string name = new_name(reference.size() > 1 ? reference.substr(reference.rfind('/') + 1) : "whole");
    references_[reference] = name;
    CRIA_TRY_ASSIGN(std::string body, value(*definition, reference));
    if (body == name) return wrong(path, "\"$ref\": \"{}\" refers to itself without end", reference.substr(0, 100));
    CRIA_TRY(add_rule(name, std::move(body)));
    return name;
  }

  /// Bounds the time that a schema takes whose parts refer to each other many times over.
  Status spend(size_t nodes) {
    constexpr size_t kMostWork = 2'000'000;
    work_ += nodes;
    if (work_ <= kMostWork) return {};
    return fail(ErrorCode::kInvalidInput, "the schema is too large: its parts are used too often by others");
  }
  Result<OrderedJson> joined(const OrderedJson& first, const OrderedJson& second, const std::string& path) {
    const auto properties = [](const OrderedJson& schema) {
      return schema.is_object() && schema.contains("properties") ? schema.at("properties").size() : 0;
    };
    CRIA_TRY(spend(nodes_in(first) + nodes_in(second) + properties(first) * properties(second) / 8));
    return merged(first, second, path);
  }

  /// Up to draft 7 a list of items was "items", and what comes behind it "additionalItems".
  static OrderedJson in_newer_words(OrderedJson schema) {
    const auto items = schema.find("items");
    const bool is_list = items != schema.end() && items->is_array();
    if (is_list && !schema.contains("prefixItems")) {
      schema["prefixItems"] = *items;
      if (schema.contains("additionalItems")) {
        schema["items"] = OrderedJson(schema.at("additionalItems"));
      } else {
        schema.erase("items");
      }
    }
    schema.erase("additionalItems");
    return schema;
  }

  /// A schema without $ref and allOf at its top: what they say is joined with the rest.
  Result<OrderedJson> flat(const OrderedJson& schema, const std::string& path, uint32_t depth = 0) {
    if (depth > kMaxDepth)
      return wrong(path, "definitions refer to each other without end, or deeper than {}", kMaxDepth);
    if (schema.is_boolean()) return schema;
    if (!schema.is_object()) return wrong(path, "{} is no schema: an object, true or false is expected", said(schema));
    CRIA_TRY(spend(nodes_in(schema)));
    for (const auto& [key, value] : schema.items()) {
      if (!is_known(key))
        return unsupported(path, fmt::format("the keyword \"{}\" is not supported", key.substr(0, 60)));
    }
    OrderedJson result = in_newer_words(schema);
    for (const char* const key : {"$ref", "allOf"}) {
      const auto found = schema.find(key);
      if (found == schema.end()) continue;
      result.erase(key);
      if (found->is_string()) {
        CRIA_TRY_ASSIGN(const OrderedJson* const definition, target(found->get<std::string>(), path));
        CRIA_TRY_ASSIGN(const OrderedJson other, flat(*definition, path, depth + 1));
        CRIA_TRY_ASSIGN(result, joined(result, other, path));
      } else if (found->is_array() && key == std::string_view("allOf")) {
        for (const OrderedJson& part : *found) {
          CRIA_TRY_ASSIGN(const OrderedJson other, flat(part, path, depth + 1));
          CRIA_TRY_ASSIGN(result, joined(result, other, path));
        }
      } else {
        return wrong(path, "\"{}\" is {}", key, said(*found));
      }
      if (result.is_boolean()) break;
    }
    return result;
  }

  /// What a schema is written as: the name of a rule, or something as short.
  Result<std::string> value(const OrderedJson& schema, const std::string& path) {
    CRIA_TRY(spend(1));
    if (++depth_ > kMaxDepth) return wrong(path, "the schema is nested deeper than {}", kMaxDepth);
    auto result = value_of(schema, path);
    --depth_;
    return result;
  }

  Result<std::string> value_of(const OrderedJson& schema, const std::string& path) {
    if (schema.is_object() && schema.contains("$ref") && schema.at("$ref").is_string()) {
      const bool is_alone = std::ranges::all_of(
          schema.items(), [](const auto& entry) { return entry.key() == "$ref" || is_annotation(entry.key()); });
      if (is_alone) return referred(schema.at("$ref").get<std::string>(), path);
    }
    CRIA_TRY_ASSIGN(const OrderedJson whole, flat(schema, path));
    if (whole.is_boolean()) {
      if (whole.get<bool>()) return "value";
      return wrong(path, "nothing fits this schema");
    }
    for (const char* const key : {"anyOf", "oneOf"}) {
      if (whole.contains(key)) return choice(whole, key, path);
    }
    if (whole.contains("enum") || whole.contains("const")) return enumeration(whole, path);
    CRIA_TRY_ASSIGN(const std::vector<std::string> types, types_of(whole, path));
    std::vector<std::string> alternatives;
    for (const std::string& type : types) {
      CRIA_TRY_ASSIGN(std::string written, typed(type, whole, path));
      alternatives.push_back(std::move(written));
    }
    return one_of(alternatives, path);
  }

  Result<std::string> one_of(const std::vector<std::string>& alternatives, const std::string& path) {
    if (alternatives.size() == 1) return alternatives.front();
    return rule(path.substr(path.rfind('/') + 1), fmt::format("{}", fmt::join(alternatives, " | ")));
  }

  /// anyOf and oneOf: what stands beside them holds for each alternative. Of oneOf exactly one must fit, so that each
  /// two must be apart.
  Result<std::string> choice(const OrderedJson& whole, const std::string& key, const std::string& path) {
    OrderedJson rest = OrderedJson::object();
    for (const auto& [name, value] : whole.items()) {
      if (name != key && !is_annotation(name)) rest[name] = value;
    }
    if (const auto property = discriminator(whole)) {
      if (!rest.contains("required")) rest["required"] = OrderedJson::array();
      rest["required"].push_back(*property);
    }
    const OrderedJson& list = whole.at(key);
    if (!list.is_array() || list.empty())
      return wrong(path, "\"{}\" is {}: a list of schemas is expected", key, said(list));
    std::vector<std::string> alternatives;
    std::vector<std::pair<size_t, OrderedJson>> others;
    for (size_t i = 0; i < list.size(); ++i) {
      if (list[i] == false) continue;
      const std::string where = fmt::format("{}/{}/{}", path, key, i);
      OrderedJson alternative = list[i];
      if (!rest.empty() || key == "oneOf") {
        CRIA_TRY_ASSIGN(const OrderedJson own, flat(list[i], where));
        CRIA_TRY_ASSIGN(OrderedJson both, joined(rest, own, where));
        if (key == "oneOf") CRIA_TRY(check_apart(i, both, others, path));
        if (!rest.empty()) alternative = std::move(both);
      }
      CRIA_TRY_ASSIGN(std::string written, value(alternative, where));
      alternatives.push_back(std::move(written));
    }
    if (alternatives.empty()) return wrong(path, "nothing fits \"{}\"", key);
    return one_of(alternatives, path);
  }

  Status check_apart(size_t index, const OrderedJson& alternative, std::vector<std::pair<size_t, OrderedJson>>& others,
                     const std::string& path) {
    for (const auto& [before, other] : others) {
      CRIA_TRY(spend(4));
      if (!may_overlap(other, alternative)) continue;
      return unsupported(path,
                         fmt::format("\"oneOf\": the alternatives {} and {} may both fit a value: write \"anyOf\", "
                                     "or set them apart by type, range, or a constant in a required property",
                                     before, index));
    }
    others.emplace_back(index, alternative);
    return {};
  }

  /// The property by which OpenAPI tells alternatives apart: it must be there.
  static std::optional<std::string> discriminator(const OrderedJson& schema) {
    const auto found = schema.find("discriminator");
    if (found == schema.end() || !found->is_object()) return std::nullopt;
    const auto name = found->find("propertyName");
    if (name == found->end() || !name->is_string()) return std::nullopt;
    return name->get<std::string>();
  }

  Result<std::vector<std::string>> types_of(const OrderedJson& schema, const std::string& path) const {
    std::vector<std::string> types;
    if (const auto said_types = schema.find("type"); said_types != schema.end()) {
      const OrderedJson list = said_types->is_array() ? *said_types : OrderedJson::array({*said_types});
      for (const OrderedJson& type : list) {
        if (!type.is_string() || !keywords_of_types().contains(type.get<std::string>())) {
          return wrong(path,
                       "\"type\" is or holds {}: object, array, string, number, integer, boolean and null are known",
                       said(type));
        }
        types.push_back(type.get<std::string>());
      }
      if (types.empty()) return wrong(path, "\"type\" is an empty list");
    } else {
      // What only says something about some types is written as one of these.
      for (const auto& [type, keywords] : keywords_of_types()) {
        const bool is_meant = std::ranges::any_of(keywords, [&](const auto& key) { return schema.contains(key); });
        if (is_meant && type != "integer") types.emplace_back(type);
      }
      if (types.empty()) return std::vector<std::string>{"value"};
    }
    const auto nullable = schema.find("nullable");  // of OpenAPI
    if (nullable != schema.end() && *nullable == true) types.emplace_back("null");
    std::ranges::sort(types);
    const auto repeated = std::ranges::unique(types);
    types.erase(repeated.begin(), repeated.end());
    return types;
  }

  static bool is_of_type(const OrderedJson& value, const std::string& type) {
    if (type == "value") return true;
    if (type == "integer")
      return value.is_number_integer() || (value.is_number() && value == std::floor(value.get<double>()));
    if (type == "number") return value.is_number();
    return type == value.type_name();
  }

  Result<std::string> enumeration(const OrderedJson& schema, const std::string& path) {
    for (const auto& [key, value] : schema.items()) {
      if (key != "enum" && key != "const" && key != "type" && key != "nullable" && !is_annotation(key)) {
        return unsupported(path,
                           fmt::format("\"{}\" beside \"enum\" or \"const\" is not supported", key.substr(0, 60)));
      }
    }
    OrderedJson values = schema.contains("const") ? OrderedJson::array({schema.at("const")}) : schema.at("enum");
    if (!values.is_array() || values.empty()) return wrong(path, "\"enum\" must be a list with something in it");
    if (schema.contains("const") && schema.contains("enum")) {
      const OrderedJson& list = schema.at("enum");
      if (std::ranges::find(list, values.front()) == list.end()) return wrong(path, "\"const\" is not in \"enum\"");
    }
    enum_values_ += values.size();
    if (enum_values_ > kMaxEnumValues) {
      return wrong(path, "the schema lists more than {} values in \"enum\"", with_commas(kMaxEnumValues));
    }
    std::vector<std::string> types = {"value"};
    if (schema.contains("type")) {
      CRIA_TRY_ASSIGN(types, types_of(schema, path));
    }
    std::vector<std::string> alternatives;
    for (const OrderedJson& value : values) {
      const bool fits = std::ranges::any_of(types, [&](const std::string& type) { return is_of_type(value, type); });
      if (fits) alternatives.push_back(literal(value));
    }
    if (alternatives.empty()) return wrong(path, "no value of \"enum\" or \"const\" has the \"type\"");
    return one_of(alternatives, path);
  }

  Result<std::string> typed(const std::string& type, const OrderedJson& schema, const std::string& path) {
    if (type == "object") return object(schema, path);
    if (type == "array") return array(schema, path);
    if (type == "string") return string(schema, path);
    if (type == "number" || type == "integer") return number(type, schema, path);
    return type;  // the rule of that name
  }

  /// A count from 0, where the keyword is there.
  Result<std::optional<uint64_t>> count(const OrderedJson& schema, const std::string& key,
                                        const std::string& path) const {
    constexpr uint64_t kMost = 10'000;
    const auto found = schema.find(key);
    if (found == schema.end()) return std::nullopt;
    const bool is_count = found->is_number() && found->get<double>() >= 0 && found->get<double>() <= double{kMost} &&
                          found->get<double>() == std::floor(found->get<double>());
    if (is_count) return static_cast<uint64_t>(found->get<double>());
    // More than that is never written.
    if (found->is_number() && found->get<double>() > double{kMost} && key.starts_with("max")) return kMost;
    return wrong(path, "\"{}\" is {}: a whole number from 0 to {} is expected", key, said(*found), kMost);
  }

  Result<std::string> string(const OrderedJson& schema, const std::string& path) {
    CRIA_TRY_ASSIGN(const auto least, count(schema, "minLength", path));
    CRIA_TRY_ASSIGN(const auto most, count(schema, "maxLength", path));
    const bool has_length = least.value_or(0) > 0 || schema.contains("maxLength");
    const bool has_pattern = schema.contains("pattern");
    const bool is_formatted = schema.contains("format");
    if (has_length + has_pattern + is_formatted > 1) {
      return unsupported(path, "only one of \"pattern\", \"format\" and a length is supported for a string");
    }
    if (has_pattern) {
      if (!schema.at("pattern").is_string()) return wrong(path, "\"pattern\" is {}", said(schema.at("pattern")));
      auto written = pattern_rules(schema.at("pattern").get<std::string>());
      if (!written)
        return std::unexpected(
            Error(written.error().code(), fmt::format("{}: {}", shown_path(path), written.error().sentence())));
      return rule("pattern", fmt::format("\"\\\"\" {} \"\\\"\"", *written));
    }
    if (is_formatted) {
      const OrderedJson& format = schema.at("format");
      if (format.is_string() && has_format(format.get<std::string>())) {
        return rule("string", fmt::format("\"\\\"\" format-{} \"\\\"\"", format.get<std::string>()));
      }
      return unsupported(path, fmt::format("\"format\" is {}, which is not supported", said(format)));
    }
    if (!has_length) return "string";
    if (most && least.value_or(0) > *most) return wrong(path, "\"minLength\" is above \"maxLength\"");
    return rule("string", fmt::format("\"\\\"\" char{} \"\\\"\"", counts(least.value_or(0), most)));
  }

  /// A bound as a whole number: rounded inwards for integers.
  Result<std::optional<int64_t>> bound(const OrderedJson& schema, bool is_least, bool is_integer,
                                       const std::string& path) const {
    std::optional<int64_t> result;
    for (const bool is_exclusive : {false, true}) {
      const std::string key =
          is_least ? (is_exclusive ? "exclusiveMinimum" : "minimum") : (is_exclusive ? "exclusiveMaximum" : "maximum");
      const auto found = schema.find(key);
      if (found == schema.end()) continue;
      if (!found->is_number()) return wrong(path, "\"{}\" is {}: a number is expected", key, said(*found));
      const auto value = found->get<double>();
      const bool is_whole = value == std::floor(value);
      if (!is_integer && (is_exclusive || !is_whole)) {
        return unsupported(path,
                           fmt::format("\"{}\": {} is not supported for numbers: only \"minimum\" and \"maximum\" "
                                       "that are whole are",
                                       key, said(*found)));
      }
      constexpr double kFurthest = 9e15;
      if (std::abs(value) > kFurthest) {
        const bool is_outside = is_least ? value > 0 : value < 0;
        if (!is_outside) {  // further out than numbers are written, but for those with exponents
          constexpr auto kBound = static_cast<int64_t>(kFurthest);
          const int64_t bound = is_least ? -kBound : kBound;
          result = !result ? bound : is_least ? std::max(*result, bound) : std::min(*result, bound);
          continue;
        }
        return unsupported(path, fmt::format("\"{}\": {} is further from 0 than {}", key, said(*found), kFurthest));
      }
      auto whole = static_cast<int64_t>(is_least ? std::ceil(value) : std::floor(value));
      if (is_exclusive && is_whole) whole += is_least ? 1 : -1;
      result = !result ? whole : is_least ? std::max(*result, whole) : std::min(*result, whole);
    }
    return result;
  }

  Result<std::string> number(const std::string& type, const OrderedJson& schema, const std::string& path) {
    const bool is_integer = type == "integer";
    if (const auto step = schema.find("multipleOf"); step != schema.end() && !(is_integer && *step == 1)) {
      return unsupported(path, fmt::format("\"multipleOf\": {} is not supported", said(*step)));
    }
    CRIA_TRY_ASSIGN(const auto least, bound(schema, true, is_integer, path));
    CRIA_TRY_ASSIGN(const auto most, bound(schema, false, is_integer, path));
    if (!least && !most) return type;
    const int64_t low = least.value_or(-kMostWritten);
    const int64_t high = most.value_or(kMostWritten);
    if (low > high) return wrong(path, "no number is at least {} and at most {}", low, high);
    return rule(type, is_integer ? integers_between(low, high) : numbers_between(low, high));
  }

  Result<std::string> array(const OrderedJson& schema, const std::string& path) {
    CRIA_TRY_ASSIGN(const auto least, count(schema, "minItems", path));
    CRIA_TRY_ASSIGN(const auto most, count(schema, "maxItems", path));
    if (schema.contains("uniqueItems") && schema.at("uniqueItems") != false) {
      return unsupported(path, "\"uniqueItems\" is not supported");
    }
    if (most && least.value_or(0) > *most) return wrong(path, "\"minItems\" is above \"maxItems\"");
    std::vector<std::string> first;
    bool has_others = true;
    if (const auto list = schema.find("prefixItems"); list != schema.end()) {
      if (!list->is_array()) return wrong(path, "\"prefixItems\" is {}: a list of schemas is expected", said(*list));
      for (size_t i = 0; i < list->size() && (!most || i < *most); ++i) {
        has_others = (*list)[i] != false || i < least.value_or(0);
        if (!has_others) break;  // the list ends before that item
        CRIA_TRY_ASSIGN(std::string item, value((*list)[i], fmt::format("{}/prefixItems/{}", path, i)));
        first.push_back(std::move(item));
      }
    }
    std::string others = "value";
    has_others = has_others && (!most || first.size() < *most);
    if (const auto items = schema.find("items"); items != schema.end()) {
      if (items->is_array()) return wrong(path, "\"items\" is a list beside \"prefixItems\"");
      if (*items == false) has_others = false;
      if (has_others) {
        CRIA_TRY_ASSIGN(others, value(*items, path + "/items"));
      }
    } else if (!first.empty() && least.value_or(0) <= first.size()) {
      has_others = false;  // what is not spoken of is left out
    }
    return rule("array",
                fmt::format("\"[\" ws {} \"]\"", list_of(first, has_others ? others : "", least.value_or(0), most)));
  }

  /// The inside of a list: the first items, and then others, if any.
  static std::string list_of(const std::vector<std::string>& first, const std::string& others, uint64_t least,
                             std::optional<uint64_t> most) {
    // From behind: what may follow the first i items, each with the comma before it.
    std::string rest;
    if (!others.empty()) {
      const uint64_t begun = std::max<uint64_t>(first.size(), 1);
      const uint64_t fewest = least > begun ? least - begun : 0;
      const std::optional<uint64_t> more = most ? std::optional(*most > begun ? *most - begun : 0) : std::nullopt;
      rest = fmt::format("(comma {}){}", others, counts(fewest, more));
      if (first.empty()) rest = fmt::format("{} {}", others, rest);
    }
    for (size_t i = first.size(); i-- > 0;) {
      const bool is_needed = i < least || i == 0;
      rest = fmt::format("{}{} {}", i > 0 ? "comma " : "", first[i], rest);
      if (!is_needed) rest = fmt::format("({})?", rest);
    }
    if (rest.empty() || most == 0) return "";
    return least > 0 ? fmt::format("{} ws", rest) : fmt::format("({} ws)?", rest);
  }

  struct Property {
    std::string member;  ///< the rule for key and value
    bool is_required = false;
  };

  Result<std::string> object(const OrderedJson& schema, const std::string& path) {
    std::set<std::string> required;
    if (const auto list = schema.find("required"); list != schema.end()) {
      if (!list->is_array()) return wrong(path, "\"required\" is {}: a list of names is expected", said(*list));
      for (const OrderedJson& name : *list) {
        if (!name.is_string()) return wrong(path, "\"required\" holds {}: names are expected", said(name));
        required.insert(name.get<std::string>());
      }
      if (required.size() > kMaxProperties) return wrong(path, "\"required\" holds more than {} names", kMaxProperties);
    }
    OrderedJson properties = OrderedJson::object();
    if (const auto found = schema.find("properties"); found != schema.end()) {
      if (!found->is_object()) return wrong(path, "\"properties\" is {}: an object is expected", said(*found));
      properties = *found;
    }
    const auto more = schema.find("additionalProperties");
    const bool has_more = more != schema.end() ? *more != false : properties.empty();
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (more != schema.end() && *more == false) {
        return wrong(path, "the property \"{}\" is required, and not allowed", name.substr(0, 60));
      }
      properties[name] = more != schema.end() ? *more : OrderedJson(true);
    }
    property_count_ += properties.size();
    if (property_count_ > kMaxProperties) {
      return wrong(path, "the schema has more than {} properties", with_commas(kMaxProperties));
    }
    CRIA_TRY(check_property_counts(schema, required.size(), properties.size(), has_more, path));
    std::vector<Property> members;
    for (const auto& [key, property] : properties.items()) {
      if (property == false && !required.contains(key)) continue;
      CRIA_TRY_ASSIGN(const std::string inside, value(property, fmt::format("{}/properties/{}", path, key)));
      CRIA_TRY_ASSIGN(std::string member, rule(key, fmt::format("{} colon {}", literal(key), inside)));
      members.push_back({.member = std::move(member), .is_required = required.contains(key)});
    }
    std::string other;
    if (has_more) {
      if (properties.empty() && (more == schema.end() || *more == true)) return "object";
      std::string inside = "value";
      if (more != schema.end()) {
        CRIA_TRY_ASSIGN(inside, value(*more, path + "/additionalProperties"));
      }
      CRIA_TRY_ASSIGN(const std::string key, other_keys(properties));
      CRIA_TRY_ASSIGN(other, rule("other", fmt::format("\"\\\"\" {} \"\\\"\" colon {}", key, inside)));
    }
    CRIA_TRY_ASSIGN(const std::string inside, members_of(members, other));
    return rule("object", inside.empty() ? R"("{" ws "}")" : fmt::format(R"("{{" ws {} "}}")", inside));
  }

  static Status check_property_counts(const OrderedJson& schema, size_t required, size_t properties, bool has_more,
                                      const std::string& path) {
    const auto least = schema.find("minProperties");
    const auto most = schema.find("maxProperties");
    const auto above = [](const OrderedJson& value, size_t count) {
      return !value.is_number() || value.get<double>() > static_cast<double>(count);
    };
    if (least != schema.end() && above(*least, required)) {
      return unsupported(path, fmt::format("\"minProperties\": {} is not supported beyond the {} that are required",
                                           said(*least), required));
    }
    if (most != schema.end() &&
        (has_more || !most->is_number() || most->get<double>() < static_cast<double>(properties))) {
      return unsupported(path, fmt::format("\"maxProperties\": {} is not supported", said(*most)));
    }
    return {};
  }

  /// Members in their order, those that are not required left out at will, and others behind them. Each suffix of the
  /// list is a rule: once where nothing stands before it, once behind a comma.
  Result<std::string> members_of(const std::vector<Property>& members, const std::string& other) {
    std::string begin;  // what may follow where nothing stands yet
    std::string next;   // … behind a member
    bool may_be_empty = true;
    if (!other.empty()) {
      next = fmt::format("(comma {})*", other);
      begin = fmt::format("{} {}", other, next);
    }
    for (size_t i = members.size(); i-- > 0;) {
      const Property& property = members[i];
      if (i + 1 < members.size() && !next.empty()) {
        CRIA_TRY_ASSIGN(next, rule("next", next));
      }
      std::string with = fmt::format("{} {}", property.member, next);
      if (property.is_required) {
        begin = with;
        next = fmt::format("comma {}", with);
        may_be_empty = false;
      } else {
        if (!begin.empty()) {
          CRIA_TRY_ASSIGN(begin, rule("begin", begin));
        }
        begin = begin.empty() ? with : fmt::format("{} | {}", with, begin);
        next = fmt::format("(comma {})? {}", property.member, next);
      }
    }
    if (begin.empty()) return begin;
    return may_be_empty ? fmt::format("(({}) ws)?", begin) : fmt::format("({}) ws", begin);
  }

  /// Keys that are none of these; beside them, without escapes.
  Result<std::string> other_keys(const OrderedJson& properties) {
    std::vector<std::string> names;
    for (const auto& [key, value] : properties.items()) {
      // A name that is written with escapes is none of those below anyway.
      if (literal(key) == in_grammar("\"" + key + "\"")) names.push_back(key);
    }
    if (names.empty()) return "char*";
    std::ranges::sort(names);
    return keys_but(names, 0, 0);
  }

  /// Of names that are alike up to a byte, what may follow there so that it is none of them.
  Result<std::string> keys_but(std::span<const std::string> names, size_t at, uint32_t depth) {
    constexpr uint32_t kMaxKeyDepth = 500;
    constexpr std::string_view kAny = R"([^"\\\x00-\x1F\x7F])";
    if (names.empty()) return fmt::format("{}*", kAny);
    if (depth > kMaxKeyDepth)
      return fail(ErrorCode::kUnsupported,
                  "a property's name is longer than {} characters beside others that are allowed", kMaxKeyDepth);
    std::string excluded = R"("\\\x00-\x1F\x7F)";
    std::vector<std::string> alternatives;
    const bool is_name = names.front().size() == at;
    if (!is_name) alternatives.emplace_back("\"\"");
    for (size_t i = is_name ? 1 : 0; i < names.size();) {
      const auto character = character_at(names[i], at);
      const size_t width = character ? character->bytes : 1;
      size_t end = i;
      while (end < names.size() && names[end].compare(at, width, names[i], at, width) == 0) ++end;
      CRIA_TRY_ASSIGN(const std::string rest, keys_but(names.subspan(i, end - i), at + width, depth + 1));
      alternatives.push_back(fmt::format("{} {}", in_grammar(names[i].substr(at, width)), rest));
      excluded += fmt::format("\\U{:08X}", character ? character->value : 0);
      i = end;
    }
    alternatives.push_back(fmt::format("[^{}] {}*", excluded, kAny));
    return rule("key", fmt::format("{}", fmt::join(alternatives, " | ")));
  }

  const OrderedJson& root_;
  std::string prefix_;
  std::vector<std::pair<std::string, std::string>> rules_;
  std::map<std::string, std::string> names_;       // of rules, by what they say
  std::map<std::string, std::string> references_;  // rules of definitions
  uint32_t named_ = 0;
  uint32_t depth_ = 0;
  size_t bytes_ = 0;
  size_t work_ = 0;
  size_t enum_values_ = 0;
  size_t property_count_ = 0;
};

std::unexpected<Error> within(const Error& error, std::string_view name) {
  return std::unexpected(Error(error.code(), fmt::format("{}: {}", name, error.sentence())));
}

}  // namespace

Result<std::string> schema_rules(const OrderedJson& schema, std::string_view name) {
  auto rules = Writer(schema, "").write("root");
  if (!rules) return within(rules.error(), name);
  return *rules + shared_rules(*rules);
}

Result<std::string> schema_part(const OrderedJson& schema, std::string_view name, const std::string& rule) {
  auto rules = Writer(schema, rule + "-").write(rule);
  if (!rules) return within(rules.error(), name);
  return rules;
}

Result<Grammar> schema_grammar(const OrderedJson& schema, std::string_view name) {
  CRIA_TRY_ASSIGN(const std::string rules, schema_rules(schema, name));
  static_assert(kSchemaLimits.bytes == 2 * kMaxRulesBytes);
  auto grammar = Grammar::parse(rules, name, kSchemaLimits);
  if (!grammar) return std::unexpected(std::move(grammar).error().while_doing("making a grammar of the schema"));
  return grammar;
}

Result<Grammar> object_grammar() { return schema_grammar(OrderedJson{{"type", "object"}}, "json_object"); }

}  // namespace cria::grammar
