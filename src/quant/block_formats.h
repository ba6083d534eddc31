// The block formats of GGUF files by name, decoding rows of them to f32, and encoding those that Cria writes. Each
// format has a header of its own, with its layout and formula: quant/q4_0.h and so on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace cria::quant {

struct BlockFormat {
  std::string_view name;  ///< "Q4_K"
  uint32_t elements = 0;  ///< of a block
  uint32_t bytes = 0;     ///< of a block
  /// Decodes `blocks` blocks, at any alignment, to `elements` numbers each.
  void (*decode)(const std::byte* data, size_t blocks, float* out) = nullptr;
  /// Encodes whole blocks of numbers to `bytes` each (block_encode.h, k_quant_encode.h); nullptr: this is not written.
  void (*encode)(std::span<const float> values, std::byte* out) = nullptr;
};

/// All formats.
[[nodiscard]] std::span<const BlockFormat> block_formats();
/// The format of that name, or nullptr.
[[nodiscard]] const BlockFormat* find_block_format(std::string_view name);

}  // namespace cria::quant
