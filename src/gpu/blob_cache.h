// Compiled pipelines on disk, so that a second start compiles nothing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace cria::gpu::detail {

/// A folder of small files, one for each key. Nothing in it is needed: what is missing, damaged or cannot be written
/// is compiled again. Dawn may call it from several threads.
class BlobCache {
 public:
  /// Creates the folder, and empties it where it has grown beyond kMaxBytes.
  explicit BlobCache(std::filesystem::path folder);

  /// Bytes of the value of a key, copied to `value` where that is large enough; 0 where there is none.
  size_t load(std::span<const std::byte> key, std::span<std::byte> value);
  void store(std::span<const std::byte> key, std::span<const std::byte> value);

  static constexpr uint64_t kMaxBytes = 256ULL << 20;

 private:
  [[nodiscard]] std::filesystem::path file_of(std::span<const std::byte> key) const;
  std::filesystem::path folder_;
  std::mutex mutex_;
  // Dawn asks for the size first, then for the bytes: the file is read once.
  std::vector<std::byte> last_key_, last_value_;
};

}  // namespace cria::gpu::detail
