#include "formats/tensor.h"

#include <algorithm>
#include <iterator>

#include "base/checked.h"

namespace cria::formats {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  uint32_t bytes;
};
constexpr DTypeRow kDTypes[] = {
    {DType::kF32, "F32", 4},        {DType::kF16, "F16", 2},        {DType::kBF16, "BF16", 2},
    {DType::kF64, "F64", 8},        {DType::kI64, "I64", 8},        {DType::kI32, "I32", 4},
    {DType::kI16, "I16", 2},        {DType::kI8, "I8", 1},          {DType::kU64, "U64", 8},
    {DType::kU32, "U32", 4},        {DType::kU16, "U16", 2},        {DType::kU8, "U8", 1},
    {DType::kBool, "BOOL", 1},      {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kF8E8M0, "F8_E8M0", 1}, {DType::kC64, "C64", 8},
};

const DTypeRow& row_of(DType dtype) {
  return *std::ranges::find_if(kDTypes, [&](const DTypeRow& row) { return row.dtype == dtype; });
}

}  // namespace

std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }
uint32_t dtype_bytes(DType dtype) { return row_of(dtype).bytes; }

std::optional<DType> dtype_of_name(std::string_view name) {
  const auto* row = std::ranges::find_if(kDTypes, [&](const DTypeRow& candidate) { return candidate.name == name; });
  if (row == std::end(kDTypes)) return std::nullopt;
  return row->dtype;
}

std::optional<uint64_t> tensor_bytes(std::span<const uint64_t> shape, DType dtype) {
  const auto elements = checked_product(shape);
  return elements ? checked_multiply(*elements, dtype_bytes(dtype)) : std::nullopt;
}

}  // namespace cria::formats
