// Little-endian numbers in files, on machines of either byte order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cria::formats {

/// The unsigned number of up to 8 bytes.
[[nodiscard]] inline uint64_t little_endian(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace cria::formats
