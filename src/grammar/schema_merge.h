// Parts of JSON Schemas that hold together, made into one.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace cria::grammar {

/// Says nothing about values: title, description, definitions and so on.
[[nodiscard]] bool is_annotation(std::string_view keyword);

/// Types by name, each with the keywords that say something of its values alone.
[[nodiscard]] const std::map<std::string_view, std::set<std::string_view>>& keywords_of_types();

/// A path within a schema for a message: its end, where it is long.
[[nodiscard]] std::string shown_path(std::string_view path);

/// A schema that is fitted by what fits both; each is an object (without $ref and allOf), or true or false.
/// Errors: kInvalidInput where nothing fits both, kUnsupported where they cannot be joined.
Result<OrderedJson> merged(const OrderedJson& first, const OrderedJson& second, const std::string& path);

}  // namespace cria::grammar
