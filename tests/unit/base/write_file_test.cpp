// Files are written whole or not at all.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/platform.h"
#include "safetensors_text.h"
#include "temporary_folder.h"

#ifndef _WIN32
#include <sys/resource.h>

#include <csignal>
#endif

namespace cria {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Status write_parts(const std::filesystem::path& path, std::initializer_list<std::string_view> texts) {
  std::vector<std::span<const std::byte>> parts;
  for (const std::string_view text : texts) parts.push_back(bytes_of(text));
  return platform::write_file_atomically(path, parts);
}

TEST(WriteFileAtomically, WritesThePartsOneAfterTheOther) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "file";
  ASSERT_TRUE(write_parts(path, {"one ", "", "two"}));
  EXPECT_EQ(content(path), "one two");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"file"}));
}

TEST(WriteFileAtomically, ReplacesAnOldFile) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "old and longer");
  ASSERT_TRUE(write_parts(path, {"new"}));
  EXPECT_EQ(content(path), "new");
}

TEST(WriteFileAtomically, SaysThatTheFolderIsMissing) {
  const TemporaryFolder folder;
  const auto status = write_parts(folder.path() / "none" / "file", {"text"});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kNotFound);
}

TEST(WriteFileAtomically, LeavesNothingBehindWhereTheNameIsTaken) {
  const TemporaryFolder folder;
  folder.write("taken/inner", "text");
  const auto status = write_parts(folder.path() / "taken", {"text"});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), ErrorCode::kIo);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"taken"}));
}

#ifndef _WIN32
TEST(WriteFileAtomically, AFailingWriteKeepsTheOldFileAndNoOther) {
  const TemporaryFolder folder;
  const auto path = folder.write("file", "old");
  struct rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {0, 1, 4096, 9999}) {  // bytes after which write() fails
    struct rlimit small = before;
    small.rlim_cur = limit;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto status = write_parts(path, {std::string(5000, 'x'), std::string(5000, 'y')});
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(status) << limit;
    EXPECT_EQ(status.error().code(), ErrorCode::kIo);
    EXPECT_EQ(content(path), "old");
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"file"}));
  }
  std::signal(SIGXFSZ, handler);
}
#endif

}  // namespace
}  // namespace cria
