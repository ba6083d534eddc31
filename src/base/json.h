// Strict JSON for files that may be hostile: bounded depth, no duplicate keys, errors as sentences.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cria {

using Json = nlohmann::json;
/// Keeps the keys of an object in the order of the text. Finding one takes time linear in their number.
using OrderedJson = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;
  size_t max_containers = SIZE_MAX;  ///< objects and arrays together: each costs far more memory than text
  size_t max_keys = SIZE_MAX;        ///< of one object
  bool allow_duplicate_keys = false;
};

/// Parses `text`; `name` (a file's name) begins every error message.
/// Errors (kInvalidInput): not valid UTF-8 or JSON (with the byte's position), nested deeper or with more
/// containers than the limits, an object with the same key twice, a number outside the range of a double.
Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits = {});
/// The same with the order of keys; objects have at most kMaxOrderedKeys, whatever the limits say.
Result<OrderedJson> parse_ordered_json(std::string_view text, std::string_view name, JsonLimits limits = {});
inline constexpr size_t kMaxOrderedKeys = 1000;

/// The sentence for what the parser's handler is told in parse_error(); `name` begins it.
[[nodiscard]] std::string json_syntax_error(std::string_view name, size_t position, std::string_view token,
                                            const Json::exception& exception);

}  // namespace cria
