#include "base/platform.h"

namespace cria::platform {

Status write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts) {
  return write_file_in_pieces(path, [&](const WriteBytes& write) -> Status {
    for (const std::span<const std::byte> part : parts) CRIA_TRY(write(part));
    return {};
  });
}

}  // namespace cria::platform
