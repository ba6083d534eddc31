// Everything that differs between operating systems, in one small interface.
// platform_posix.cpp and platform_windows.cpp implement it; nothing else may ask which system this is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace cria {

/// A whole file mapped read-only into memory. Pages are read from disk when touched and may be
/// dropped by the system at any time, so a mapping costs address space, not memory.
class MappedFile {
 public:
  /// Errors: kNotFound where the path does not exist, kIo where it is no regular file or unreadable.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// Tells the system that a range has been used and its memory may be taken back now.
  void release(size_t offset, size_t size) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
};

namespace platform {

/// True where standard error is a terminal, so that a progress bar makes sense.
[[nodiscard]] bool stderr_is_terminal();
/// True where standard input is a terminal: nobody piped a prompt.
[[nodiscard]] bool stdin_is_terminal();

/// From now on a write to a pipe that nobody reads is an error, and not the end of the process.
void ignore_broken_pipes();

/// From now on an interrupt (Ctrl-C) or termination request only sets a flag; a second one ends the process.
/// With `ends_reads` a read that waits for input ends with it; else it goes on.
void catch_interrupts(bool ends_reads = false);
[[nodiscard]] bool interrupted();
/// Forgets the interrupts so far: the next one is the first again.
void clear_interrupts();

/// Writes a file whole or not at all: the parts, one after the other, go to a temporary name in the same
/// folder, are flushed to the disk, and then take the place of `path`. A failure leaves the old file, if
/// there was one, and no other. Errors: kIo, kNotFound where the folder does not exist.
Status write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts);

/// Appends bytes to the file that is being written.
using WriteBytes = std::function<Status(std::span<const std::byte>)>;
/// The same for parts that are made one after the other: `produce` calls its argument with each. Its error leaves the
/// old file too, and is returned.
Status write_file_in_pieces(const std::filesystem::path& path, const std::function<Status(const WriteBytes&)>& produce);

/// Makes what was renamed in a folder last through a power cut, where the file system can.
void flush_folder(const std::filesystem::path& folder);

/// Ends a connection in both directions, so that a thread that waits for it goes on. The socket stays open.
void end_connection(int socket);

/// Where this program's file lies; empty where the system does not tell.
[[nodiscard]] std::filesystem::path executable_path();

/// Where this user's programs keep what they can make again; empty where the system has no such place.
[[nodiscard]] std::filesystem::path user_cache_folder();

/// Sets an environment variable of this process, for libraries that are loaded later (drivers).
/// To be called before other threads start.
void set_environment(const std::string& name, const std::string& value);

/// The largest resident set of this process so far, in bytes; 0 where the system does not tell.
[[nodiscard]] uint64_t peak_memory_bytes();

/// Bytes of memory that this machine has; 0 where the system does not tell.
[[nodiscard]] uint64_t physical_memory_bytes();

/// Processor time that all threads of this process have used so far, in seconds; 0 where the system does not tell.
[[nodiscard]] double cpu_seconds();

}  // namespace platform
}  // namespace cria
