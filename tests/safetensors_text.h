// Makes safetensors files, well-formed or not, out of a header's text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cria {

/// Eight bytes of `header_bytes`, little-endian, then `rest`.
inline std::string with_length(uint64_t header_bytes, std::string_view rest) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header_bytes >> (8 * i));
  return file + std::string(rest);
}

/// A file of this header and `data_bytes` bytes of data.
inline std::string safetensors_file(std::string_view header, size_t data_bytes = 0) {
  return with_length(header.size(), std::string(header) + std::string(data_bytes, '\1'));
}

/// The header's text for one tensor: "NAME":{…}.
inline std::string tensor_text(std::string_view name, std::string_view dtype, std::string_view shape, uint64_t begin,
                               uint64_t end) {
  std::string text;
  text.append("\"").append(name).append("\":{\"dtype\":\"").append(dtype).append("\",\"shape\":").append(shape);
  return text + ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace cria
