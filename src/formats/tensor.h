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

/// Element types that safetensors and GGUF files may hold. F32, F16, BF16 and the types of blocks can be run; the
/// others are sized, so that a file with them opens, and are refused by name where a weight is needed. The elements of
/// a block type share scales, 32 or 256 at a time; src/quant/ has the layouts.
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
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};

/// The type's name in a safetensors header, for example "BF16"; of a block type, in GGUF's documentation.
[[nodiscard]] std::string_view dtype_name(DType dtype);
/// Elements of one block: 1 for all but block types.
[[nodiscard]] uint32_t dtype_block(DType dtype);
/// Bytes of one block; so of one element, for all but block types.
[[nodiscard]] uint32_t dtype_bytes(DType dtype);
/// The type of that name in a safetensors header, or nothing.
[[nodiscard]] std::optional<DType> dtype_of_name(std::string_view name);

/// A view; valid as long as the file that it came from.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;       ///< empty for a single number; dimensions may be 0
  std::span<const std::byte> data;   ///< row-major, little-endian, at any alignment
  const MappedFile* file = nullptr;  ///< for MappedFile::release; nullptr: data lie elsewhere
  uint64_t file_offset = 0;          ///< of data in the file
  /// Where not 0, the rows are heads of this many, and the row of rotated pair i and half j (row j * head / 2 + i of a
  /// head elsewhere) is stored as row 2 i + j: GGUF's layout of queries and keys of Llama.
  uint32_t paired_rows = 0;

  /// The row of `data` that holds row `row` of the matrix.
  [[nodiscard]] uint64_t stored_row(uint64_t row) const {
    if (paired_rows == 0) return row;
    const uint64_t in_head = row % paired_rows;
    const uint64_t half = paired_rows / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
  }
};

/// Bytes of a tensor of this shape and type, or nothing where they overflow 64 bits or a row is no whole number of
/// blocks.
[[nodiscard]] std::optional<uint64_t> tensor_bytes(std::span<const uint64_t> shape, DType dtype);

}  // namespace cria::formats
