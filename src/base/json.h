// Strict JSON for files that may be hostile: bounded depth, no duplicate keys, errors as sentences.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cria {

using Json = nlohmann::json;

struct JsonLimits {
  int max_depth = 64;
  size_t max_containers = SIZE_MAX;  ///< objects and arrays together: each costs far more memory than text
  bool allow_duplicate_keys = false;
};

/// Parses `text`; `name` (a file's name) begins every error message.
/// Errors (kInvalidInput): not valid UTF-8 or JSON (with the byte's position), nested deeper or with more
/// containers than the limits, an object with the same key twice, a number outside the range of a double.
Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits = {});

/// The sentence for what the parser's handler is told in parse_error(); `name` begins it.
[[nodiscard]] std::string json_syntax_error(std::string_view name, size_t position, std::string_view token,
                                            const Json::exception& exception);

}  // namespace cria
