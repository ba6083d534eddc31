#include "kernels/matrix.h"

#include <fmt/format.h>

namespace cria::kernels {

std::string_view weight_type_name(WeightType type) {
  switch (type) {
    case WeightType::kF32: return "f32";
    case WeightType::kF16: return "f16";
    case WeightType::kBF16: return "bf16";
    case WeightType::kInt8: return "int8";
    case WeightType::kInt4: return "int4";
    case WeightType::kQ4_K: return "q4_k";
    case WeightType::kQ5_K: return "q5_k";
    case WeightType::kQ6_K: return "q6_k";
  }
  return "?";
}

std::string weight_format_name(const WeightFormat& format) {
  const std::string name(weight_type_name(format.type));
  return format.block == 0 || is_k_quant(format.type) ? name : fmt::format("{} in blocks of {}", name, format.block);
}

}  // namespace cria::kernels
