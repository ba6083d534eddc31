// Tensors as they stand in a file: name, type, shape and a view of the mapped bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/platform.h"

namespace cria::formats {

/// Element types that safetensors files may hold. Only the first three can be run; the others are sized,
/// so that a file with them opens, and are refused by name where a weight is needed.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kC64,
};

/// The type's name in a safetensors header, for example "BF16".
[[nodiscard]] std::string_view dtype_name(DType dtype);
/// Bytes of one element.
[[nodiscard]] uint32_t dtype_bytes(DType dtype);
/// The type of that name, or nothing.
[[nodiscard]] std::optional<DType> dtype_of_name(std::string_view name);

/// A view; valid as long as the file that it came from.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;       ///< empty for a single number; dimensions may be 0
  std::span<const std::byte> data;   ///< row-major, little-endian, at any alignment
  const MappedFile* file = nullptr;  ///< for MappedFile::release
  uint64_t file_offset = 0;          ///< of data in the file
};

/// Bytes of a tensor of this shape and type, or nothing where they overflow 64 bits.
[[nodiscard]] std::optional<uint64_t> tensor_bytes(std::span<const uint64_t> shape, DType dtype);

}  // namespace cria::formats
