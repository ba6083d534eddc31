#include "base/json_fields.h"

#include <cmath>

namespace cria {

std::string shown(const Json& value) {
  constexpr size_t kShown = 80;
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kShown ? text : text.substr(0, kShown) + "…";
}

std::optional<uint64_t> whole_number(const Json& value) {
  // A value that was not parsed but made from an int is signed.
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<int64_t>() < 0)) return std::nullopt;
  return value.get<uint64_t>();
}

const Json* JsonFields::find(std::string_view key) const {
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Result<std::optional<uint64_t>> JsonFields::whole(std::string_view key, uint64_t low, uint64_t high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto number = whole_number(*value); number && *number >= low && *number <= high) return number;
  return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a whole number from {} to {}", name_, key, shown(*value),
              low, high);
}

Result<std::optional<double>> JsonFields::number(std::string_view key, double low, double high) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (std::isfinite(number) && number >= low && number <= high) return number;
  }
  return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a number from {} to {}", name_, key, shown(*value), low,
              high);
}

Result<std::optional<bool>> JsonFields::boolean(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not true or false", name_, key, shown(*value));
}

Result<std::optional<std::string>> JsonFields::string(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a string", name_, key, shown(*value));
}

Result<uint32_t> JsonFields::required_whole(std::string_view key, uint32_t low, uint32_t high) const {
  CRIA_TRY_ASSIGN(const auto value, whole(key, low, high));
  if (!value) return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is missing", name_, key);
  return static_cast<uint32_t>(*value);
}

}  // namespace cria
