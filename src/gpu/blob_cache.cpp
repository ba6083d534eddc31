#include "gpu/blob_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/platform.h"

namespace cria::gpu::detail {
namespace {

constexpr std::string_view kSuffix = ".blob";

/// FNV-1a, 64 bits, from a given start.
uint64_t hash_of(std::span<const std::byte> bytes, uint64_t start) {
  uint64_t hash = start;
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001B3ULL;
  return hash;
}

/// A file holds the key's size, the key, the value's hash and the value.
struct Header {
  uint64_t key_bytes = 0;
  uint64_t value_hash = 0;
};
constexpr uint64_t kHashStart = 0xCBF29CE484222325ULL;

}  // namespace

BlobCache::BlobCache(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  uint64_t bytes = 0;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (entry.path().extension() != kSuffix) continue;
    const uint64_t size = entry.file_size(error);
    if (!error) bytes += size;
    files.push_back(entry.path());
  }
  if (bytes <= kMaxBytes) return;
  for (const std::filesystem::path& file : files) std::filesystem::remove(file, error);
}

std::filesystem::path BlobCache::file_of(std::span<const std::byte> key) const {
  return folder_ / fmt::format("{:016x}{:016x}{}", hash_of(key, kHashStart), hash_of(key, ~kHashStart), kSuffix);
}

size_t BlobCache::load(std::span<const std::byte> key, std::span<std::byte> value) {
  const std::lock_guard lock(mutex_);
  if (!std::ranges::equal(key, last_key_) || last_value_.empty()) {
    const auto file = MappedFile::open(file_of(key));
    if (!file || file->bytes().size() < sizeof(Header) + key.size()) return 0;
    Header header;
    std::memcpy(&header, file->bytes().data(), sizeof(header));
    const auto stored_key = file->bytes().subspan(sizeof(header), key.size());
    const auto stored = file->bytes().subspan(sizeof(header) + key.size());
    if (header.key_bytes != key.size() || !std::ranges::equal(stored_key, key)) return 0;
    if (header.value_hash != hash_of(stored, kHashStart)) return 0;
    last_key_.assign(key.begin(), key.end());
    last_value_.assign(stored.begin(), stored.end());
  }
  if (value.size() >= last_value_.size()) std::ranges::copy(last_value_, value.begin());
  return last_value_.size();
}

void BlobCache::store(std::span<const std::byte> key, std::span<const std::byte> value) {
  const std::lock_guard lock(mutex_);
  last_key_.clear();
  last_value_.clear();
  const Header header{.key_bytes = key.size(), .value_hash = hash_of(value, kHashStart)};
  const std::span<const std::byte> parts[] = {std::as_bytes(std::span(&header, 1)), key, value};
  if (const Status written = platform::write_file_atomically(file_of(key), parts); !written) {
    log::debug("a compiled pipeline cannot be kept: {}", written.error().message());
  }
}

}  // namespace cria::gpu::detail
