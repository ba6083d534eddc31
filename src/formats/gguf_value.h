// The metadata of a GGUF file: values of thirteen types under keys, read in place.
//
// A value is a view of the mapped file whose bounds have been checked; nothing is copied until it is asked for.
// Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace cria::formats {

/// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

/// Bytes of one value; 0 for strings, which begin with 8 bytes of length, and arrays.
[[nodiscard]] uint32_t gguf_type_bytes(GgufType type);
/// "uint32", "string".
[[nodiscard]] std::string_view gguf_type_name(GgufType type);

/// One value or array, little-endian, whose bounds have been checked.
struct GgufValue {
  GgufType type{};  ///< of the value, or of the array's elements; never kArray
  bool is_array = false;
  uint64_t count = 1;               ///< elements
  std::span<const std::byte> data;  ///< all of them; strings with their lengths before each
};

/// Metadata by key; the keys are views of the file.
using GgufMetadata = std::map<std::string_view, GgufValue>;

/// Typed, checked access to metadata; `name` (the file's) begins every message. All errors are kInvalidInput and name
/// the key. What is missing is nothing, or an empty list.
class GgufFields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view name) : metadata_(metadata), name_(name) {}

  [[nodiscard]] const GgufValue* find(std::string_view key) const;
  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// A whole number in [low, high], of any integer type.
  Result<std::optional<uint64_t>> whole(std::string_view key, uint64_t low, uint64_t high) const;
  /// The same for a field that must be there.
  Result<uint64_t> required_whole(std::string_view key, uint64_t low, uint64_t high) const;
  /// A finite number in [low, high], of type float32 or float64.
  Result<std::optional<double>> number(std::string_view key, double low, double high) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  /// A view of the file; not checked to be UTF-8.
  Result<std::optional<std::string_view>> string(std::string_view key) const;

  /// A list of whole numbers in [low, high]; a single number counts as a list of one.
  Result<std::vector<uint64_t>> wholes(std::string_view key, uint64_t low, uint64_t high) const;
  /// A list of float32; infinities and NaN are refused.
  Result<std::vector<float>> numbers(std::string_view key) const;
  /// A list of strings, views of the file.
  Result<std::vector<std::string_view>> strings(std::string_view key) const;

  [[nodiscard]] std::string_view name() const { return name_; }

 private:
  [[nodiscard]] std::unexpected<Error> wrong(std::string_view key, const GgufValue& value,
                                             std::string_view wanted) const;
  const GgufMetadata& metadata_;
  std::string_view name_;
};

}  // namespace cria::formats
