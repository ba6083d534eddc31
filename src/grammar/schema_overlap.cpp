#include "grammar/schema_overlap.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "grammar/schema_merge.h"

namespace cria::grammar {
namespace {

constexpr uint32_t kDepth = 8;  // of properties within properties

using Types = std::set<std::string>;

const OrderedJson& any() {
  static const OrderedJson any = true;
  return any;
}

const OrderedJson* find(const OrderedJson& schema, const char* key) {
  const auto found = schema.find(key);
  return found == schema.end() ? nullptr : &*found;
}

/// By the specification: a schema that does not speak of types has all.
Types types_of(const OrderedJson& schema) {
  Types types = {"object", "array", "string", "number", "boolean", "null"};
  if (const OrderedJson* said = find(schema, "type")) {
    types.clear();
    for (const OrderedJson& type : said->is_array() ? *said : OrderedJson::array({*said})) {
      if (type.is_string()) types.insert(type == "integer" ? "number" : type.get<std::string>());
    }
  }
  if (const OrderedJson* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) {
    types.insert("null");
  }
  return types;
}

/// Without "type" only those are written that other keywords speak of.
Types written_types_of(const OrderedJson& schema) {
  if (find(schema, "type") != nullptr) return types_of(schema);
  Types types;
  for (const auto& [type, keywords] : keywords_of_types()) {
    const bool is_meant = std::ranges::any_of(keywords, [&](const auto& key) { return schema.contains(key); });
    if (is_meant && type != "integer") types.emplace(type);
  }
  if (types.empty()) return types_of(schema);
  if (const OrderedJson* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) {
    types.insert("null");
  }
  return types;
}

/// Of values that are written by one of the schemas, and fit the other.
Types common_types(const OrderedJson& first, const OrderedJson& second) {
  Types common;
  std::ranges::set_intersection(written_types_of(first), types_of(second), std::inserter(common, common.end()));
  std::ranges::set_intersection(types_of(first), written_types_of(second), std::inserter(common, common.end()));
  return common;
}

std::optional<OrderedJson> values_of(const OrderedJson& schema) {
  if (const OrderedJson* value = find(schema, "const")) return OrderedJson::array({*value});
  if (const OrderedJson* list = find(schema, "enum"); list != nullptr && list->is_array()) return *list;
  return std::nullopt;
}

std::string type_of(const OrderedJson& value) { return value.type_name(); }

/// What the keywords say of a number: a value, a length, a count of items.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();

  [[nodiscard]] bool is_apart_from(const Range& other) const { return most < other.least || other.most < least; }
};

Range range_of(const OrderedJson& schema, std::initializer_list<const char*> least,
               std::initializer_list<const char*> most) {
  Range range;
  for (const char* key : least) {
    const OrderedJson* bound = find(schema, key);
    if (bound == nullptr || !bound->is_number()) continue;
    const auto value = bound->get<double>();
    const bool is_exclusive = std::string_view(key).starts_with("ex");
    range.least = std::max(range.least, is_exclusive ? std::nextafter(value, HUGE_VAL) : value);
  }
  for (const char* key : most) {
    const OrderedJson* bound = find(schema, key);
    if (bound == nullptr || !bound->is_number()) continue;
    const auto value = bound->get<double>();
    const bool is_exclusive = std::string_view(key).starts_with("ex");
    range.most = std::min(range.most, is_exclusive ? std::nextafter(value, -HUGE_VAL) : value);
  }
  return range;
}

Range range_of(const OrderedJson& schema, const std::string& type) {
  if (type == "number") return range_of(schema, {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"});
  if (type == "string") return range_of(schema, {"minLength"}, {"maxLength"});
  return range_of(schema, {"minItems"}, {"maxItems"});
}

/// The rule for a property's value, false where there may be none.
const OrderedJson& property(const OrderedJson& schema, const std::string& name) {
  if (const OrderedJson* properties = find(schema, "properties"); properties != nullptr && properties->is_object()) {
    if (const auto found = properties->find(name); found != properties->end()) return *found;
  }
  const OrderedJson* more = find(schema, "additionalProperties");
  return more == nullptr ? any() : *more;
}

bool overlap(const OrderedJson& first, const OrderedJson& second, uint32_t depth);

/// Objects are apart where a property is that one of the schemas demands.
bool objects_overlap(const OrderedJson& first, const OrderedJson& second, uint32_t depth) {
  for (const OrderedJson* schema : {&first, &second}) {
    const OrderedJson* required = find(*schema, "required");
    if (required == nullptr || !required->is_array()) continue;
    for (const OrderedJson& name : *required) {
      if (!name.is_string()) continue;
      const auto key = name.get<std::string>();
      if (!overlap(property(first, key), property(second, key), depth + 1)) return false;
    }
  }
  return true;
}

bool of_type_overlap(const std::string& type, const OrderedJson& first, const OrderedJson& second, uint32_t depth) {
  if (type == "object") return objects_overlap(first, second, depth);
  if (type == "boolean" || type == "null") return true;
  return !range_of(first, type).is_apart_from(range_of(second, type));
}

/// Whether one of the values may fit: of numbers and texts only the type is looked at.
bool may_fit(const OrderedJson& values, const OrderedJson& schema) {
  const Types types = types_of(schema);
  const auto others = values_of(schema);
  return std::ranges::any_of(values, [&](const OrderedJson& value) {
    if (!types.contains(type_of(value))) return false;
    return !others || std::ranges::find(*others, value) != others->end();
  });
}

/// A schema with alternatives is apart from another where each of them is.
bool choices_overlap(const OrderedJson& schema, const OrderedJson& other, uint32_t depth) {
  for (const char* key : {"anyOf", "oneOf"}) {
    const OrderedJson* list = find(schema, key);
    if (list == nullptr || !list->is_array()) continue;
    const auto overlaps = [&](const OrderedJson& part) { return overlap(part, other, depth + 1); };
    if (std::ranges::none_of(*list, overlaps)) return false;
  }
  return true;
}

bool overlap(const OrderedJson& first, const OrderedJson& second, uint32_t depth) {
  if (first == false || second == false) return false;
  if (!first.is_object() || !second.is_object() || depth > kDepth) return true;
  if (!choices_overlap(first, second, depth) || !choices_overlap(second, first, depth)) return false;
  if (const auto values = values_of(first); values && !may_fit(*values, second)) return false;
  if (const auto values = values_of(second); values && !may_fit(*values, first)) return false;
  return std::ranges::any_of(common_types(first, second),
                             [&](const std::string& type) { return of_type_overlap(type, first, second, depth); });
}

}  // namespace

bool may_overlap(const OrderedJson& first, const OrderedJson& second) { return overlap(first, second, 0); }

}  // namespace cria::grammar
