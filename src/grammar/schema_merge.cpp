#include "grammar/schema_merge.h"

#include <algorithm>
#include <iterator>

namespace cria::grammar {
namespace {

OrderedJson as_list(const OrderedJson& value) { return value.is_array() ? value : OrderedJson::array({value}); }

/// What two lists have in common; of types, whole numbers are numbers too.
OrderedJson in_both(const OrderedJson& first, const OrderedJson& second, bool are_types) {
  OrderedJson both = OrderedJson::array();
  const auto holds = [](const OrderedJson& list, const OrderedJson& value) {
    return std::ranges::find(list, value) != list.end();
  };
  for (const OrderedJson& value : first) {
    const bool is_whole = are_types && value == "integer" && holds(second, "number");
    if (holds(second, value) || is_whole) both.push_back(value);
  }
  if (are_types && holds(second, "integer") && holds(first, "number") && !holds(both, "integer")) {
    both.push_back("integer");
  }
  return both;
}

/// The rule for a property that only the other side has.
const OrderedJson& others_rule(const OrderedJson& schema) {
  static const OrderedJson any = true;
  const auto found = schema.find("additionalProperties");
  return found == schema.end() ? any : *found;
}

bool is_false(const OrderedJson& schema) { return schema.is_boolean() && !schema.get<bool>(); }

/// Refs and allOf within properties are joined later, when these are.
OrderedJson both_of(const OrderedJson& first, const OrderedJson& second) {
  if (first == second || (second.is_boolean() && second.get<bool>())) return first;
  if (first.is_boolean() && first.get<bool>()) return second;
  if (is_false(first) || is_false(second)) return false;
  return OrderedJson{{"allOf", OrderedJson::array({first, second})}};
}

OrderedJson merged_properties(const OrderedJson& first, const OrderedJson& second) {
  static const OrderedJson none = OrderedJson::object();
  const auto of = [](const OrderedJson& schema) -> const OrderedJson& {
    const auto found = schema.find("properties");
    return found != schema.end() && found->is_object() ? *found : none;
  };
  OrderedJson properties = OrderedJson::object();
  for (const auto& [key, value] : of(first).items()) {
    const auto other = of(second).find(key);
    properties[key] = both_of(value, other != of(second).end() ? *other : others_rule(second));
  }
  for (const auto& [key, value] : of(second).items()) {
    if (!properties.contains(key)) properties[key] = both_of(others_rule(first), value);
  }
  for (auto property = properties.begin(); property != properties.end();) {
    property = is_false(*property) ? properties.erase(property) : std::next(property);
  }
  return properties;
}

/// The rule for item i.
const OrderedJson& item_rule(const OrderedJson& schema, size_t i) {
  static const OrderedJson any = true;
  const auto first = schema.find("prefixItems");
  if (first != schema.end() && first->is_array() && i < first->size()) return (*first)[i];
  const auto others = schema.find("items");
  return others == schema.end() ? any : *others;
}

/// "items" of one holds for the items that "prefixItems" of the other names, too.
void merge_items(const OrderedJson& first, const OrderedJson& second, OrderedJson& both) {
  const auto count = [](const OrderedJson& schema) {
    const auto list = schema.find("prefixItems");
    return list == schema.end() || !list->is_array() ? 0 : list->size();
  };
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < std::max(count(first), count(second)); ++i) {
    list.push_back(both_of(item_rule(first, i), item_rule(second, i)));
  }
  if (first.contains("items") || second.contains("items")) {
    both["items"] = both_of(item_rule(first, list.size()), item_rule(second, list.size()));
  }
  if (!list.empty()) both["prefixItems"] = std::move(list);
}

}  // namespace

bool is_annotation(std::string_view keyword) {
  static const std::set<std::string_view> known = {
      "title",      "description",   "default",     "examples",         "example",         "$schema",     "$id",
      "$comment",   "$defs",         "definitions", "readOnly",         "writeOnly",       "$anchor",     "id",
      "deprecated", "discriminator", "strict",      "contentMediaType", "contentEncoding", "externalDocs"};
  return known.contains(keyword) || keyword.starts_with("x-");
}

const std::map<std::string_view, std::set<std::string_view>>& keywords_of_types() {
  static const std::map<std::string_view, std::set<std::string_view>> known = {
      {"object", {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
      {"array", {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"}},
      {"string", {"minLength", "maxLength", "pattern", "format"}},
      {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
      {"integer", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
      {"boolean", {}},
      {"null", {}}};
  return known;
}

std::string shown_path(std::string_view path) {
  constexpr size_t kShown = 100;
  if (path.size() <= kShown) return std::string(path);
  std::string_view end = path.substr(path.size() - kShown);
  while (!end.empty() && (static_cast<uint8_t>(end.front()) & 0xC0U) == 0x80) end.remove_prefix(1);
  return fmt::format("…{}", end);
}

Result<OrderedJson> merged(const OrderedJson& first, const OrderedJson& second, const std::string& path) {
  if (first.is_boolean() || second.is_boolean()) return both_of(first, second);
  OrderedJson both = first;
  if (first.contains("properties") || second.contains("properties")) {
    both["properties"] = merged_properties(first, second);
  }
  merge_items(first, second, both);
  for (const auto& [key, value] : second.items()) {
    const auto own = first.find(key);
    if (key == "properties" || key == "items" || key == "prefixItems" || is_annotation(key)) continue;
    if (own == first.end() || *own == value) {
      both[key] = value;
    } else if (key == "type" || key == "enum") {
      OrderedJson common = in_both(as_list(*own), as_list(value), key == "type");
      if (common.empty()) {
        return fail(ErrorCode::kInvalidInput, "nothing fits {}: \"{}\" is said twice, with nothing in common",
                    shown_path(path), key);
      }
      both[key] = std::move(common);
    } else if (key == "required" && own->is_array() && value.is_array()) {
      for (const OrderedJson& name : value) {
        if (std::ranges::find(both[key], name) == both[key].end()) both[key].push_back(name);
      }
    } else if (key == "additionalProperties") {
      both[key] = both_of(*own, value);
    } else if (own->is_number() && value.is_number() && (key.starts_with("min") || key == "exclusiveMinimum")) {
      both[key] = std::max(own->get<double>(), value.get<double>()) == own->get<double>() ? *own : value;
    } else if (own->is_number() && value.is_number() && (key.starts_with("max") || key == "exclusiveMaximum")) {
      both[key] = std::min(own->get<double>(), value.get<double>()) == own->get<double>() ? *own : value;
    } else {
      return fail(ErrorCode::kUnsupported, "\"{}\" holds twice at {}, which cannot be joined", key.substr(0, 60),
                  shown_path(path));
    }
  }
  return both;
}

}  // namespace cria::grammar
