#include "formats/tensor.h"

#include <algorithm>
#include <iterator>

#include "base/checked.h"
#include "formats/block_tensors.h"

namespace cria::formats {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  uint32_t bytes;
  uint32_t block = 1;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kF32, "F32", 4},
    {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},
    {DType::kF64, "F64", 8},
    {DType::kI64, "I64", 8},
    {DType::kI32, "I32", 4},
    {DType::kI16, "I16", 2},
    {DType::kI8, "I8", 1},
    {DType::kU64, "U64", 8},
    {DType::kU32, "U32", 4},
    {DType::kU16, "U16", 2},
    {DType::kU8, "U8", 1},
    {DType::kBool, "BOOL", 1},
    {DType::kF8E4M3, "F8_E4M3", 1},
    {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kF8E8M0, "F8_E8M0", 1},
    {DType::kC64, "C64", 8},
    {DType::kQ4_0, "Q4_0", 18, 32},
    {DType::kQ4_1, "Q4_1", 20, 32},
    {DType::kQ5_0, "Q5_0", 22, 32},
    {DType::kQ5_1, "Q5_1", 24, 32},
    {DType::kQ8_0, "Q8_0", 34, 32},
    {DType::kQ2_K, "Q2_K", 84, 256},
    {DType::kQ3_K, "Q3_K", 110, 256},
    {DType::kQ4_K, "Q4_K", 144, 256},
    {DType::kQ5_K, "Q5_K", 176, 256},
    {DType::kQ6_K, "Q6_K", 210, 256},
    {DType::kIQ4_NL, "IQ4_NL", 18, 32},
    {DType::kIQ4_XS, "IQ4_XS", 136, 256},
};

const DTypeRow& row_of(DType dtype) {
  return *std::ranges::find_if(kDTypes, [&](const DTypeRow& row) { return row.dtype == dtype; });
}

}  // namespace

std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }
uint32_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }
uint32_t dtype_block(DType dtype) { return row_of(dtype).block; }

std::optional<DType> dtype_of_name(std::string_view name) {
  const auto* row = std::ranges::find_if(
      kDTypes, [&](const DTypeRow& candidate) { return candidate.name == name && candidate.block == 1; });
  if (row == std::end(kDTypes)) return std::nullopt;
  return row->dtype;
}

std::optional<DType> block_type_of_name(std::string_view name) {
  const auto* row = std::ranges::find_if(
      kDTypes, [&](const DTypeRow& candidate) { return candidate.name == name && candidate.block != 1; });
  if (row == std::end(kDTypes)) return std::nullopt;
  return row->dtype;
}

std::optional<uint64_t> tensor_bytes(std::span<const uint64_t> shape, DType dtype) {
  const auto elements = checked_product(shape);
  const uint32_t block = dtype_block(dtype);
  if (!elements || (block != 1 && (shape.empty() || shape.back() % block != 0))) return std::nullopt;
  return checked_multiply(*elements / block, dtype_bytes(dtype));
}

}  // namespace cria::formats
