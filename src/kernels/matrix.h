// The operands of kernels: weight matrices, activations, and how their rows are laid out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "gpu/device.h"

namespace cria::kernels {

/// How the elements of a weight matrix are stored on the GPU. Every type decodes exactly to f32.
enum class WeightType : uint8_t { kF32, kF16, kBF16, kInt8, kInt4, kQ4_K, kQ5_K, kQ6_K };
inline constexpr WeightType kWeightTypes[] = {WeightType::kF32,  WeightType::kF16,  WeightType::kBF16,
                                              WeightType::kInt8, WeightType::kInt4, WeightType::kQ4_K,
                                              WeightType::kQ5_K, WeightType::kQ6_K};

/// GGUF's types of super-blocks of 256 columns; layout on the GPU: quant/super_blocks.h.
[[nodiscard]] constexpr bool is_k_quant(WeightType type) {
  return type == WeightType::kQ4_K || type == WeightType::kQ5_K || type == WeightType::kQ6_K;
}
/// Types with integers in one plane and scales in another.
[[nodiscard]] constexpr bool is_quantised(WeightType type) {
  return type == WeightType::kInt8 || type == WeightType::kInt4 || is_k_quant(type);
}
/// Columns of a super-block, which are a block of the K-quants.
inline constexpr uint32_t kSuperBlock = 256;
/// Bits of one element, scales not counted.
[[nodiscard]] constexpr uint32_t weight_type_bits(WeightType type) {
  switch (type) {
    case WeightType::kF32: return 32;
    case WeightType::kF16:
    case WeightType::kBF16: return 16;
    case WeightType::kInt8: return 8;
    case WeightType::kInt4:
    case WeightType::kQ4_K: return 4;
    case WeightType::kQ5_K: return 5;
    case WeightType::kQ6_K: return 6;
  }
  return 0;
}
/// Bytes of one element of a float type.
[[nodiscard]] constexpr uint32_t weight_type_bytes(WeightType type) { return weight_type_bits(type) / 8; }

/// Bytes of the plane of scales for one block of a quantised type.
[[nodiscard]] constexpr uint32_t scale_bytes(WeightType type) {
  if (!is_k_quant(type)) return is_quantised(type) ? 2 : 0;
  return type == WeightType::kQ6_K ? 20 : 16;
}

/// A type and, for quantised ones, the columns of a block: 32, 64 or 128 that share a scale, or those of a super-block.
struct WeightFormat {
  WeightFormat() = default;
  WeightFormat(WeightType weight_type, uint32_t block_columns = 0)  // NOLINT(google-explicit-constructor)
      : type(weight_type),
        block(is_k_quant(weight_type)     ? kSuperBlock
              : is_quantised(weight_type) ? block_columns
                                          : 0) {}
  WeightType type = WeightType::kF32;
  uint32_t block = 0;
  bool operator==(const WeightFormat&) const = default;
};

/// "f16", "int8 in blocks of 32", "q4_k".
[[nodiscard]] std::string weight_format_name(const WeightFormat& format);
/// "f16", "int8".
[[nodiscard]] std::string_view weight_type_name(WeightType type);

/// Rows are padded to whole chunks of this many elements, so that each begins at a multiple of 16 bytes
/// and a kernel reads one chunk at a time. Padding is never used in arithmetic and may hold anything.
inline constexpr uint32_t kChunk = 8;

/// Elements from one row of activations to the next.
[[nodiscard]] constexpr uint32_t padded_columns(uint32_t columns) { return round_up(columns, kChunk); }
/// Elements from one row of weights to the next: whole chunks, pairs of blocks, or super-blocks.
[[nodiscard]] constexpr uint32_t padded_columns(uint32_t columns, const WeightFormat& format) {
  if (is_k_quant(format.type)) return round_up(columns, kSuperBlock);
  return round_up(columns, format.block == 0 ? kChunk : 2 * format.block);
}

/// A weight matrix [rows, columns], cut into shards of whole rows where one binding cannot hold it.
/// Layout of a shard: row-major, padded_columns(columns, format) elements a row; the scales of quantised
/// types are a plane of their own: f16, or what a super-block has beside its integers.
struct Matrix {
  struct Shard {
    gpu::Buffer buffer = {};
    gpu::Buffer scales = {};  ///< not valid for float types
    uint32_t first_row = 0;
    uint32_t rows = 0;

    /// What is bound as scales: the kernels of float types do not look at it.
    [[nodiscard]] const gpu::Buffer& scales_or_any() const { return scales.valid() ? scales : buffer; }
  };
  WeightFormat format;
  uint32_t rows = 0;
  uint32_t columns = 0;
  std::vector<Shard> shards;
  gpu::Buffer bias;  ///< f32 [rows]; not valid where there is none

  [[nodiscard]] uint64_t row_bytes() const {
    return uint64_t{padded_columns(columns, format)} * weight_type_bits(format.type) / 8;
  }
  [[nodiscard]] uint64_t scale_row_bytes() const {
    return format.block == 0 ? 0 : uint64_t{padded_columns(columns, format)} / format.block * scale_bytes(format.type);
  }
};

/// Activations [rows, columns] in f32, or f16 for matrix units, row-major, padded_columns(columns) elements a row.
struct Activation {
  gpu::Buffer buffer;
  uint32_t columns = 0;
  bool is_half = false;

  /// The same buffer, holding f16.
  [[nodiscard]] Activation half() const { return {.buffer = buffer, .columns = columns, .is_half = true}; }

  [[nodiscard]] uint32_t stride() const { return padded_columns(columns); }
};

}  // namespace cria::kernels
