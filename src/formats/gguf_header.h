// The part of a GGUF file before its tensors, read front to back; only gguf*.cpp include this.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace cria::formats {

inline constexpr std::array<char, 4> kGgufMagic = {'G', 'G', 'U', 'F'};

/// What the directory says of one tensor, not yet compared with the file.
struct GgufEntry {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  ///< [rows, columns]
  uint64_t offset = 0;          ///< from the begin of the data
};

struct GgufHeader {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<GgufEntry> entries;
  uint64_t size = 0;  ///< bytes up to the end of the directory
};

/// Errors: those of parse_gguf.
Result<GgufHeader> parse_gguf_header(std::span<const std::byte> file, std::string_view name);

}  // namespace cria::formats
