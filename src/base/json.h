// Strict JSON for files that may be hostile: bounded depth, no duplicate keys, errors as sentences.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

#include "base/error.h"

namespace cria {

using Json = nlohmann::json;

struct JsonLimits {
  int max_depth = 64;
  bool allow_duplicate_keys = false;
};

/// Parses `text`; `name` (a file's name) begins every error message.
/// Errors (kInvalidInput): not valid UTF-8 or JSON (with the byte's position), nested deeper than the
/// limit, an object with the same key twice, a number outside the range of a double.
Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits = {});

}  // namespace cria
