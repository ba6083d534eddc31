#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/platform.h"

namespace cria {

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return fail(code, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  }
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return fail(ErrorCode::kIo, "{}: is not a regular file", path.string());
  }
  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<size_t>(status.st_size);
  if (file.size_ > 0) {
    void* address = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      const int reason = errno;
      file.size_ = 0;
      ::close(descriptor);
      return fail(ErrorCode::kIo, "{}: cannot be mapped into memory: {}", path.string(), std::strerror(reason));
    }
    file.data_ = static_cast<const std::byte*>(address);
  }
  ::close(descriptor);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(size_t offset, size_t size) const {
  if (data_ == nullptr || offset >= size_) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + std::min(size, size_ - offset)) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

namespace platform {
namespace {

// Signals may arrive on several threads at once; the handler needs an atomic without a lock.
std::atomic<int> interrupt_count = 0;
static_assert(std::atomic<int>::is_always_lock_free);

/// Names a temporary file beside `path`: hidden, and told from those of other processes and threads.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<uint32_t> counter = 0;
  return path.parent_path() / fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), counter++);
}

/// Writes all bytes; returns 0 or errno.
int write_all(int descriptor, std::span<const std::byte> rest) {
  constexpr size_t kMaxWrite = size_t{1} << 30;  // macOS refuses writes of 2 GiB and more
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), std::min(rest.size(), kMaxWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    rest = rest.subspan(static_cast<size_t>(written));
  }
  return 0;
}

void on_interrupt(int signal) {
  if (++interrupt_count > 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // taken when the handler returns
  }
}

}  // namespace

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) != 0; }
bool stdin_is_terminal() { return ::isatty(STDIN_FILENO) != 0; }

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

void catch_interrupts(bool ends_reads) {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = ends_reads ? 0 : SA_RESTART;  // a write of text that waits for its reader goes on
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return interrupt_count > 0; }
void clear_interrupts() { interrupt_count = 0; }

Status write_file_in_pieces(const std::filesystem::path& path,
                            const std::function<Status(const WriteBytes&)>& produce) {
  const std::filesystem::path temporary = temporary_name(path);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    const int reason = errno;
    return fail(reason == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: cannot be created: {}", path.string(),
                std::strerror(reason));
  }
  const auto cannot = [&](int reason) {
    return fail(ErrorCode::kIo, "{}: cannot be written: {}", path.string(), std::strerror(reason));
  };
  Status status = produce([&](std::span<const std::byte> bytes) -> Status {
    if (const int reason = write_all(descriptor, bytes); reason != 0) return cannot(reason);
    return {};
  });
  if (status && ::fsync(descriptor) != 0) status = cannot(errno);
  if (::close(descriptor) != 0 && status) status = cannot(errno);
  if (status && ::rename(temporary.c_str(), path.c_str()) != 0) status = cannot(errno);
  if (!status) {
    ::unlink(temporary.c_str());
    return status;
  }
  flush_folder(path.parent_path());
  return {};
}

void flush_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

void end_connection(int socket) { ::shutdown(socket, SHUT_RDWR); }

std::filesystem::path executable_path() {
#ifdef __APPLE__
  char buffer[4096];
  uint32_t size = sizeof(buffer);
  return _NSGetExecutablePath(buffer, &size) == 0 ? std::filesystem::path(buffer) : std::filesystem::path();
#else
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored);
#endif
}

std::filesystem::path user_cache_folder() {
  const auto folder = [](const char* name) {
    const char* value = std::getenv(name);
    const std::filesystem::path path(value == nullptr ? "" : value);
    return path.is_absolute() ? path : std::filesystem::path();
  };
#ifdef __APPLE__
  const std::filesystem::path below_home = "Library/Caches";
#else
  if (const auto path = folder("XDG_CACHE_HOME"); !path.empty()) return path;
  const std::filesystem::path below_home = ".cache";
#endif
  const std::filesystem::path home = folder("HOME");
  return home.empty() ? home : home / below_home;
}

void set_environment(const std::string& name, const std::string& value) { ::setenv(name.c_str(), value.c_str(), 1); }

uint64_t peak_memory_bytes() {
  struct rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#ifdef __APPLE__
  return static_cast<uint64_t>(usage.ru_maxrss);
#else
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
#endif
}

uint64_t physical_memory_bytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long bytes = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(bytes) : 0;
}

double cpu_seconds() {
  struct timespec time{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace platform
}  // namespace cria
