// Typed, checked access to the fields of a JSON object; a missing or null field is told from a wrong one.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace cria {

/// Reads fields of one object; `name` (a file's name) begins every message. All errors are kInvalidInput.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string_view name) : object_(object), name_(name) {}

  /// The field, or nullptr where it is missing or null.
  [[nodiscard]] const Json* find(std::string_view key) const;

  /// True where the field is there, be it null.
  [[nodiscard]] bool contains(std::string_view key) const { return object_.contains(std::string(key)); }

  /// A whole number in [low, high]; nothing where the field is missing or null.
  Result<std::optional<uint64_t>> whole(std::string_view key, uint64_t low, uint64_t high) const;
  /// A finite number in [low, high].
  Result<std::optional<double>> number(std::string_view key, double low, double high) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string>> string(std::string_view key) const;

  /// The same, for a field that must be there.
  Result<uint32_t> required_whole(std::string_view key, uint32_t low, uint32_t high) const;

 private:
  const Json& object_;
  std::string_view name_;
};

/// The value as a whole number from 0; nothing for other numbers and other kinds.
[[nodiscard]] std::optional<uint64_t> whole_number(const Json& value);

/// A JSON value for an error message: cut where it is long.
[[nodiscard]] std::string shown(const Json& value);

}  // namespace cria
