// The operands of kernels: weight matrices, activations, and how their rows are laid out.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "gpu/device.h"

namespace cria::kernels {

/// How the elements of a weight matrix are stored on the GPU. Every type decodes exactly to f32.
enum class WeightType : uint8_t { kF32, kF16, kBF16 };
inline constexpr WeightType kWeightTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kBF16};

[[nodiscard]] std::string_view weight_type_name(WeightType type);
[[nodiscard]] constexpr uint32_t weight_type_bytes(WeightType type) { return type == WeightType::kF32 ? 4 : 2; }

/// Rows are padded to whole chunks of this many elements, so that each begins at a multiple of 16 bytes
/// and a kernel reads one chunk at a time. Padding is never used in arithmetic and may hold anything.
inline constexpr uint32_t kChunk = 8;

/// Elements from one row to the next.
[[nodiscard]] constexpr uint32_t padded_columns(uint32_t columns) { return round_up(columns, kChunk); }

/// A weight matrix [rows, columns], cut into shards of whole rows where one binding cannot hold it.
/// Layout of a shard: row-major, padded_columns(columns) elements a row.
struct Matrix {
  struct Shard {
    gpu::Buffer buffer;
    uint32_t first_row = 0;
    uint32_t rows = 0;
  };
  WeightType type = WeightType::kF32;
  uint32_t rows = 0;
  uint32_t columns = 0;
  std::vector<Shard> shards;
  gpu::Buffer bias;  ///< f32 [rows]; not valid where there is none

  [[nodiscard]] uint64_t row_bytes() const { return uint64_t{padded_columns(columns)} * weight_type_bytes(type); }
};

/// Activations [rows, columns] in f32, row-major, padded_columns(columns) elements a row.
struct Activation {
  gpu::Buffer buffer;
  uint32_t columns = 0;

  [[nodiscard]] uint32_t stride() const { return padded_columns(columns); }
};

}  // namespace cria::kernels
