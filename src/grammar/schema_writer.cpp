#include "grammar/schema_writer.h"

#include <algorithm>
#include <cmath>

#include "grammar/schema_overlap.h"

namespace cria::grammar {
namespace {

bool is_known(std::string_view keyword) {
  static const std::set<std::string_view> others = {"type",  "enum",  "const", "anyOf",
                                                    "oneOf", "allOf", "$ref",  "nullable"};
  return others.contains(keyword) || is_annotation(keyword) ||
         std::ranges::any_of(keywords_of_types(), [&](const auto& type) { return type.second.contains(keyword); });
}

/// Objects, lists and values in a value, itself included.
size_t nodes_in(const OrderedJson& value) {
  size_t count = 1;
  if (value.is_structured()) {
    for (const OrderedJson& inner : value) count += nodes_in(inner);
  }
  return count;
}

}  // namespace

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

std::string counts(uint64_t least, std::optional<uint64_t> most) {
  if (least == 0 && !most) return "*";
  return most ? fmt::format("{{{},{}}}", least, *most) : fmt::format("{{{},}}", least);
}

Result<std::string> SchemaWriter::write(const std::string& first) {
  CRIA_TRY_ASSIGN(const std::string value, this->value(root_, "#"));
  std::string text = fmt::format("{} ::= {}\n", first, value);
  for (const auto& [name, rule] : rules_) text += fmt::format("{} ::= {}\n", name, rule);
  return text;
}

Result<std::string> SchemaWriter::rule(const std::string& hint, std::string body) {
  const auto known = names_.find(body);
  if (known != names_.end()) return known->second;
  std::string name = new_name(hint);
  names_.emplace(body, name);
  CRIA_TRY(add_rule(name, std::move(body)));
  return name;
}

Status SchemaWriter::add_rule(const std::string& name, std::string body) {
  bytes_ += name.size() + body.size();
  if (bytes_ > kMaxRulesBytes) {
    return fail(ErrorCode::kInvalidInput, "the schema is too large: its grammar has more than {} bytes",
                with_commas(kMaxRulesBytes));
  }
  rules_.emplace_back(name, std::move(body));
  return {};
}

std::string SchemaWriter::new_name(const std::string& hint) {
  std::string name = prefix_;
  for (const char c : hint.substr(0, 30)) {
    const bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += fits ? c : '-';
  }
  return fmt::format("{}-{}", name, ++named_);
}

Result<const OrderedJson*> SchemaWriter::target(const std::string& reference, const std::string& path) const {
  if (!reference.starts_with('#')) {
    return unsupported(path, fmt::format("\"$ref\": \"{}\" does not begin with #: only definitions of the same schema "
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

Result<std::string> SchemaWriter::referred(const std::string& reference, const std::string& path) {
  if (const auto known = references_.find(reference); known != references_.end()) return known->second;
  CRIA_TRY_ASSIGN(const OrderedJson* const definition, target(reference, path));
  std::string name = new_name(reference.size() > 1 ? reference.substr(reference.rfind('/') + 1) : "whole");
  references_[reference] = name;
  CRIA_TRY_ASSIGN(std::string body, value(*definition, reference));
  if (body == name) return wrong(path, "\"$ref\": \"{}\" refers to itself without end", reference.substr(0, 100));
  CRIA_TRY(add_rule(name, std::move(body)));
  return name;
}

Status SchemaWriter::spend(size_t nodes) {
  constexpr size_t kMostWork = 2'000'000;
  work_ += nodes;
  if (work_ <= kMostWork) return {};
  return fail(ErrorCode::kInvalidInput,
              "the schema is too large: its parts, as often as others use them, are more than {}",
              with_commas(kMostWork));
}

Result<OrderedJson> SchemaWriter::joined(const OrderedJson& first, const OrderedJson& second, const std::string& path) {
  size_t pairs = 0;  // that are compared
  for (const char* const key : {"properties", "required", "enum"}) {
    const auto count = [&](const OrderedJson& schema) {
      return schema.is_object() && schema.contains(key) ? schema.at(key).size() : 0;
    };
    pairs += count(first) * count(second);
  }
  CRIA_TRY(spend(nodes_in(first) + nodes_in(second) + pairs / 8));
  return merged(first, second, path);
}

OrderedJson SchemaWriter::in_newer_words(OrderedJson schema) {
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

Result<OrderedJson> SchemaWriter::flat(const OrderedJson& schema, const std::string& path, uint32_t depth) {
  if (depth > kMaxDepth)
    return wrong(path, "definitions refer to each other without end, or deeper than {}", kMaxDepth);
  if (schema.is_boolean()) return schema;
  if (!schema.is_object()) return wrong(path, "{} is no schema: an object, true or false is expected", said(schema));
  CRIA_TRY(spend(nodes_in(schema)));
  for (const auto& [key, value] : schema.items()) {
    if (!is_known(key)) return unsupported(path, fmt::format("the keyword \"{}\" is not supported", key.substr(0, 60)));
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
      return wrong(path, "\"{}\" is {}: {} is expected", key, said(*found),
                   key == std::string_view("$ref") ? "a string" : "a list of schemas");
    }
    if (result.is_boolean()) break;
  }
  return result;
}

Result<std::string> SchemaWriter::value(const OrderedJson& schema, const std::string& path) {
  CRIA_TRY(spend(1));
  if (++depth_ > kMaxDepth) return wrong(path, "the schema is nested deeper than {}", kMaxDepth);
  auto result = value_of(schema, path);
  --depth_;
  return result;
}

Result<std::string> SchemaWriter::value_of(const OrderedJson& schema, const std::string& path) {
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

Result<std::string> SchemaWriter::one_of(const std::vector<std::string>& alternatives, const std::string& path) {
  if (alternatives.size() == 1) return alternatives.front();
  return rule(path.substr(path.rfind('/') + 1), fmt::format("{}", fmt::join(alternatives, " | ")));
}

Result<std::string> SchemaWriter::choice(const OrderedJson& whole, const std::string& key, const std::string& path) {
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

Status SchemaWriter::check_apart(size_t index, const OrderedJson& alternative,
                                 std::vector<std::pair<size_t, OrderedJson>>& others, const std::string& path) {
  for (const auto& [before, other] : others) {
    CRIA_TRY(spend(4));
    if (!may_overlap(other, alternative)) continue;
    return unsupported(path, fmt::format("\"oneOf\": the alternatives {} and {} may both fit a value: write \"anyOf\", "
                                         "or set them apart by type, range, or a constant in a required property",
                                         before, index));
  }
  others.emplace_back(index, alternative);
  return {};
}

std::optional<std::string> SchemaWriter::discriminator(const OrderedJson& schema) {
  const auto found = schema.find("discriminator");
  if (found == schema.end() || !found->is_object()) return std::nullopt;
  const auto name = found->find("propertyName");
  if (name == found->end() || !name->is_string()) return std::nullopt;
  return name->get<std::string>();
}

Result<std::vector<std::string>> SchemaWriter::types_of(const OrderedJson& schema, const std::string& path) const {
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

bool SchemaWriter::is_of_type(const OrderedJson& value, const std::string& type) {
  if (type == "value") return true;
  if (type == "integer")
    return value.is_number_integer() || (value.is_number() && value == std::floor(value.get<double>()));
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

Result<std::string> SchemaWriter::enumeration(const OrderedJson& schema, const std::string& path) {
  for (const auto& [key, value] : schema.items()) {
    if (key != "enum" && key != "const" && key != "type" && key != "nullable" && !is_annotation(key)) {
      return unsupported(path, fmt::format("\"{}\" beside \"enum\" or \"const\" is not supported", key.substr(0, 60)));
    }
  }
  OrderedJson values = schema.contains("const") ? OrderedJson::array({schema.at("const")}) : schema.at("enum");
  if (!values.is_array() || values.empty()) {
    return wrong(path, "\"enum\" is {}: it must be a list with something in it", said(values));
  }
  if (schema.contains("const") && schema.contains("enum")) {
    const OrderedJson& list = schema.at("enum");
    if (std::ranges::find(list, values.front()) == list.end()) {
      return wrong(path, "\"const\" is {}, which is not in \"enum\"", said(values.front()));
    }
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

Result<std::string> SchemaWriter::typed(const std::string& type, const OrderedJson& schema, const std::string& path) {
  if (type == "object") return object(schema, path);
  if (type == "array") return array(schema, path);
  if (type == "string") return string(schema, path);
  if (type == "number" || type == "integer") return number(type, schema, path);
  return type;  // the rule of that name
}

}  // namespace cria::grammar
