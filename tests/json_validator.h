// A validator of the part of JSON Schema that tests use, written from the specification and not from the grammar.
#pragma once

#include <algorithm>
#include <string>

#include "base/json.h"

namespace cria {

/// Characters, not bytes.
inline size_t json_length(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0U) != 0x80; }));
}

inline bool json_has_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

/// Whether a value fits; keywords that are not listed here must not be in the schema.
inline bool json_fits(const Json& value, const Json& schema, const Json& root) {
  if (schema.is_boolean()) return schema.get<bool>();
  const auto fits = [&](const Json& inner, const Json& part) { return json_fits(inner, part, root); };
  for (const auto& keyword : schema.items()) {
    const std::string& key = keyword.key();
    const Json& said = keyword.value();
    bool holds = true;
    if (key == "type") {
      const Json types = said.is_array() ? said : Json::array({said});
      holds =
          std::ranges::any_of(types, [&](const Json& type) { return json_has_type(value, type.get<std::string>()); });
    } else if (key == "enum") {
      holds = std::ranges::find(said, value) != said.end();
    } else if (key == "const") {
      holds = value == said;
    } else if (key == "anyOf") {
      holds = std::ranges::any_of(said, [&](const Json& part) { return fits(value, part); });
    } else if (key == "$ref") {
      holds = fits(value, root.at(Json::json_pointer(said.get<std::string>().substr(1))));
    } else if (key == "required" && value.is_object()) {
      holds = std::ranges::all_of(said, [&](const Json& name) { return value.contains(name.get<std::string>()); });
    } else if (key == "properties" && value.is_object()) {
      for (const auto& [name, part] : said.items())
        holds = holds && (!value.contains(name) || fits(value.at(name), part));
    } else if (key == "additionalProperties" && value.is_object()) {
      for (const auto& [name, inner] : value.items()) {
        holds =
            holds && ((schema.contains("properties") && schema.at("properties").contains(name)) || fits(inner, said));
      }
    } else if (key == "items" && value.is_array()) {
      holds = std::ranges::all_of(value, [&](const Json& item) { return fits(item, said); });
    } else if (key == "minItems" && value.is_array()) {
      holds = value.size() >= said.get<size_t>();
    } else if (key == "maxItems" && value.is_array()) {
      holds = value.size() <= said.get<size_t>();
    } else if (key == "minLength" && value.is_string()) {
      holds = json_length(value.get<std::string>()) >= said.get<size_t>();
    } else if (key == "maxLength" && value.is_string()) {
      holds = json_length(value.get<std::string>()) <= said.get<size_t>();
    } else if (key == "minimum" && value.is_number()) {
      holds = value.get<double>() >= said.get<double>();
    } else if (key == "maximum" && value.is_number()) {
      holds = value.get<double>() <= said.get<double>();
    }
    if (!holds) return false;
  }
  return true;
}

}  // namespace cria
