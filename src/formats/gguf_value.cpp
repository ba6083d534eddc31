#include "formats/gguf_value.h"

#include <bit>
#include <cmath>

#include "formats/little_endian.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

struct TypeRow {
  std::string_view name;
  uint32_t bytes;
};
constexpr TypeRow kTypes[] = {{"uint8", 1},  {"int8", 1},    {"uint16", 2}, {"int16", 2},  {"uint32", 4},
                              {"int32", 4},  {"float32", 4}, {"bool", 1},   {"string", 0}, {"array", 0},
                              {"uint64", 8}, {"int64", 8},   {"float64", 8}};

bool is_whole(GgufType type) {
  return type != GgufType::kF32 && type != GgufType::kF64 && type != GgufType::kBool && type != GgufType::kString &&
         type != GgufType::kArray;
}

bool is_signed(GgufType type) {
  return type == GgufType::kI8 || type == GgufType::kI16 || type == GgufType::kI32 || type == GgufType::kI64;
}

/// Element `index` of a value of an integer type; nothing where it is negative.
std::optional<uint64_t> whole_at(const GgufValue& value, uint64_t index) {
  const uint32_t bytes = gguf_type_bytes(value.type);
  const uint64_t bits = little_endian(value.data.subspan(index * bytes, bytes));
  if (is_signed(value.type) && (bits >> (8 * bytes - 1)) != 0) return std::nullopt;
  return bits;
}

double number_at(const GgufValue& value, uint64_t index) {
  const uint32_t bytes = gguf_type_bytes(value.type);
  const uint64_t bits = little_endian(value.data.subspan(index * bytes, bytes));
  return value.type == GgufType::kF32 ? std::bit_cast<float>(static_cast<uint32_t>(bits)) : std::bit_cast<double>(bits);
}

/// The first string of the data, which is moved past it.
std::string_view take_string(std::span<const std::byte>& data) {
  const uint64_t size = little_endian(data.first(8));
  const std::string_view text(reinterpret_cast<const char*>(data.data()) + 8, size);
  data = data.subspan(8 + size);
  return text;
}

/// A value for an error message.
std::string shown_value(const GgufValue& value) {
  if (value.is_array) {
    return fmt::format("an array of {} values of type {}", with_commas(value.count), gguf_type_name(value.type));
  }
  if (value.type == GgufType::kString) {
    auto data = value.data;
    const std::string_view text = take_string(data);
    std::string shown = shown_name(text.substr(0, 80));
    for (char& c : shown) c = c < 0x20 || c == 0x7F ? '?' : c;
    return fmt::format("\"{}\"", shown);
  }
  if (value.type == GgufType::kF32 || value.type == GgufType::kF64) return fmt::format("{}", number_at(value, 0));
  if (value.type == GgufType::kBool) return value.data[0] == std::byte{0} ? "false" : "true";
  const uint32_t bits = 8 * gguf_type_bytes(value.type);
  const uint64_t number = little_endian(value.data);
  if (!is_signed(value.type)) return fmt::format("{}", number);
  return fmt::format("{}", static_cast<int64_t>(number << (64 - bits)) >> (64 - bits));
}

}  // namespace

uint32_t gguf_type_bytes(GgufType type) { return kTypes[static_cast<uint32_t>(type)].bytes; }
std::string_view gguf_type_name(GgufType type) { return kTypes[static_cast<uint32_t>(type)].name; }

const GgufValue* GgufFields::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

std::unexpected<Error> GgufFields::wrong(std::string_view key, const GgufValue& value, std::string_view wanted) const {
  return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not {}", name_, key, shown_value(value), wanted);
}

Result<std::optional<uint64_t>> GgufFields::whole(std::string_view key, uint64_t low, uint64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array && is_whole(value->type)) {
    if (const auto number = whole_at(*value, 0); number && *number >= low && *number <= high) return number;
  }
  return wrong(key, *value, fmt::format("a whole number from {} to {}", low, high));
}

Result<uint64_t> GgufFields::required_whole(std::string_view key, uint64_t low, uint64_t high) const {
  CRIA_TRY_ASSIGN(const auto value, whole(key, low, high));
  if (!value) return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is missing", name_, key);
  return *value;
}

Result<std::optional<double>> GgufFields::number(std::string_view key, double low, double high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array && (value->type == GgufType::kF32 || value->type == GgufType::kF64)) {
    const double number = number_at(*value, 0);
    if (std::isfinite(number) && number >= low && number <= high) return number;
  }
  return wrong(key, *value, fmt::format("a floating-point number from {} to {}", low, high));
}

Result<std::optional<bool>> GgufFields::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array && value->type == GgufType::kBool) return value->data[0] != std::byte{0};
  return wrong(key, *value, "true or false");
}

Result<std::optional<std::string_view>> GgufFields::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || value->type != GgufType::kString) return wrong(key, *value, "a string");
  auto data = value->data;
  return take_string(data);
}

Result<std::vector<uint64_t>> GgufFields::wholes(std::string_view key, uint64_t low, uint64_t high) const {
  std::vector<uint64_t> list;
  const GgufValue* value = find(key);
  if (value == nullptr) return list;
  if (!is_whole(value->type)) return wrong(key, *value, "a list of whole numbers");
  list.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = whole_at(*value, i);
    if (!number || *number < low || *number > high) {
      if (!value->is_array) return wrong(key, *value, fmt::format("a whole number from {} to {}", low, high));
      return fail(ErrorCode::kInvalidInput, "{}: element {} of \"{}\" is {}, not a whole number from {} to {}", name_,
                  with_commas(i), key, number ? fmt::format("{}", *number) : "negative", low, high);
    }
    list.push_back(*number);
  }
  return list;
}

Result<std::vector<float>> GgufFields::numbers(std::string_view key) const {
  std::vector<float> list;
  const GgufValue* value = find(key);
  if (value == nullptr) return list;
  if (!value->is_array || value->type != GgufType::kF32) return wrong(key, *value, "an array of type float32");
  list.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = static_cast<float>(number_at(*value, i));
    if (!std::isfinite(number)) {
      return fail(ErrorCode::kInvalidInput, "{}: element {} of \"{}\" is {}, not a finite number", name_,
                  with_commas(i), key, number);
    }
    list.push_back(number);
  }
  return list;
}

Result<std::vector<std::string_view>> GgufFields::strings(std::string_view key) const {
  std::vector<std::string_view> list;
  const GgufValue* value = find(key);
  if (value == nullptr) return list;
  if (!value->is_array || value->type != GgufType::kString) return wrong(key, *value, "an array of strings");
  list.reserve(value->count);
  auto data = value->data;
  for (uint64_t i = 0; i < value->count; ++i) list.push_back(take_string(data));
  return list;
}

}  // namespace cria::formats
