// The JSON header of a safetensors file, read event by event: no document is built, so that memory grows
// with the tensors that are described and not with whatever else a hostile header holds.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/tensor.h"

namespace cria::formats {

/// What the header says of one tensor, not yet compared with the file.
struct HeaderEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  ///< first byte, counted from the end of the header
  uint64_t end = 0;    ///< byte after the last
};

struct HeaderText {
  std::vector<HeaderEntry> entries;  ///< in the order of the text
  std::map<std::string, std::string> metadata;
};

/// The one name in a header that is no tensor's.
inline constexpr std::string_view kMetadataKey = "__metadata__";

/// Tensors of more dimensions are refused.
inline constexpr size_t kMaxDimensions = 8;

/// Parses the JSON text; `name` (the file's) begins every message. Errors (kInvalidInput): no JSON object
/// in UTF-8, a field missing, unknown, twice or of the wrong kind, an unknown type.
Result<HeaderText> parse_header_text(std::string_view text, std::string_view name);

/// A name for an error message: cut, so that a hostile one cannot fill the screen.
[[nodiscard]] std::string shown_name(std::string_view name);

}  // namespace cria::formats
