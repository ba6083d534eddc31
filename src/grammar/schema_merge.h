// Parts of JSON Schemas that hold together, made into one.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace cria::grammar {

/// Says nothing about values: title, description, definitions and so on.
[[nodiscard]] bool is_annotation(std::string_view keyword);

/// A path within a schema for a message: its end, where it is long.
[[nodiscard]] std::string shown_path(std::string_view path);

/// A schema that is fitted by what fits both; each is an object (without $ref and allOf), or true or false.
/// Errors: kInvalidInput where nothing fits both, kUnsupported where they cannot be joined.
Result<OrderedJson> merged(const OrderedJson& first, const OrderedJson& second, const std::string& path);

}  // namespace cria::grammar
