#include "gpu/blob_cache.h"

#include <gtest/gtest.h>

#include <fstream>

#include "temporary_folder.h"

namespace cria::gpu::detail {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The value of a key, asked for as Dawn does: the size first.
std::string load(BlobCache& cache, std::string_view key) {
  std::string value(cache.load(bytes_of(key), {}), '?');
  cache.load(bytes_of(key), std::as_writable_bytes(std::span(value)));
  return value;
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

TEST(BlobCache, KeepsValuesForTheNextStart) {
  const TemporaryFolder folder;
  {
    BlobCache cache(folder.path() / "pipelines");
    EXPECT_EQ(load(cache, "a"), "");
    cache.store(bytes_of("a"), bytes_of("first"));
    cache.store(bytes_of("b"), bytes_of("second"));
    cache.store(bytes_of("a"), bytes_of("third"));
    EXPECT_EQ(load(cache, "a"), "third");
  }
  BlobCache cache(folder.path() / "pipelines");
  EXPECT_EQ(load(cache, "a"), "third");
  EXPECT_EQ(load(cache, "b"), "second");
  EXPECT_EQ(load(cache, "c"), "");
}

TEST(BlobCache, TakesDamagedFilesForMissing) {
  const TemporaryFolder folder;
  BlobCache(folder.path()).store(bytes_of("key"), bytes_of("a value of some length"));
  const auto files = files_in(folder.path());
  ASSERT_EQ(files.size(), 1U);
  const auto whole = std::filesystem::file_size(files[0]);
  {
    std::fstream file(files[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(whole) - 1);
    file.put('!');
  }
  BlobCache changed(folder.path());
  EXPECT_EQ(load(changed, "key"), "");
  for (const std::uintmax_t size : {whole - 1, std::uintmax_t{20}, std::uintmax_t{3}, std::uintmax_t{0}}) {
    std::filesystem::resize_file(files[0], size);
    BlobCache cache(folder.path());
    EXPECT_EQ(load(cache, "key"), "") << size << " bytes";
  }
}

TEST(BlobCache, DoesNothingWhereNothingCanBeWritten) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "not a folder";
  BlobCache cache(folder.path() / "file" / "below");
  cache.store(bytes_of("key"), bytes_of("value"));
  EXPECT_EQ(load(cache, "key"), "");
}

}  // namespace
}  // namespace cria::gpu::detail
