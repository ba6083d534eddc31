// The platform interface on Windows, through Win32.
#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#define PSAPI_VERSION 2  // GetProcessMemoryInfo from kernel32: no further library
#include <winsock2.h>
#include <windows.h>
// After windows.h, which it needs.
#include <psapi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "base/platform.h"

namespace cria {
namespace {

/// A path in UTF-8; path::string() throws where the code page has no such character.
std::string shown(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

/// The system's sentence for an error, without its full stop and line end.
std::string system_message(DWORD error) {
  char buffer[512];
  DWORD size = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr, error,
                              MAKELANGID(LANG_ENGLISH, SUBLANG_DEFAULT), buffer, sizeof(buffer), nullptr);
  while (size > 0 && (buffer[size - 1] == '\n' || buffer[size - 1] == '\r' || buffer[size - 1] == '.')) --size;
  return size > 0 ? std::string(buffer, size) : fmt::format("error {}", error);
}

ErrorCode code_of(DWORD error) {
  return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ? ErrorCode::kNotFound : ErrorCode::kIo;
}

/// Closes a handle at the end of its scope.
class Handle {
 public:
  explicit Handle(HANDLE handle) : handle_(handle) {}
  ~Handle() {
    if (is_open()) CloseHandle(handle_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  [[nodiscard]] bool is_open() const { return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE; }
  [[nodiscard]] HANDLE get() const { return handle_; }

 private:
  HANDLE handle_;
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Handle file(
      CreateFileW(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr));
  if (!file.is_open()) {
    const DWORD error = GetLastError();
    return fail(code_of(error), "{}: cannot be opened: {}", shown(path), system_message(error));
  }
  LARGE_INTEGER size{};
  if (GetFileType(file.get()) != FILE_TYPE_DISK || !GetFileSizeEx(file.get(), &size)) {
    return fail(ErrorCode::kIo, "{}: is not a regular file", shown(path));
  }
  MappedFile mapped;
  mapped.path_ = path;
  if (size.QuadPart == 0) return mapped;
  // The view keeps the mapping, and the mapping the file, after their handles are closed.
  const Handle mapping(CreateFileMappingW(file.get(), nullptr, PAGE_READONLY, 0, 0, nullptr));
  void* address = mapping.is_open() ? MapViewOfFile(mapping.get(), FILE_MAP_READ, 0, 0, 0) : nullptr;
  if (address == nullptr) {
    return fail(ErrorCode::kIo, "{}: cannot be mapped into memory: {}", shown(path), system_message(GetLastError()));
  }
  mapped.data_ = static_cast<const std::byte*>(address);
  mapped.size_ = static_cast<size_t>(size.QuadPart);
  return mapped;
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
  if (data_ != nullptr) UnmapViewOfFile(data_);
}

void MappedFile::release(size_t offset, size_t size) const {
  if (data_ == nullptr || offset >= size_) return;
  SYSTEM_INFO info{};
  GetSystemInfo(&info);
  const size_t page = info.dwPageSize;
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + std::min(size, size_ - offset)) / page * page;
  // Unlocking pages that are not locked removes them from the working set.
  if (begin < end) VirtualUnlock(const_cast<std::byte*>(data_) + begin, end - begin);
}

namespace platform {
namespace {

std::atomic<int> interrupt_count = 0;

BOOL WINAPI on_interrupt(DWORD event) {
  if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT && event != CTRL_CLOSE_EVENT) return FALSE;
  return ++interrupt_count == 1 ? TRUE : FALSE;  // not handled: the system ends the process
}

bool is_terminal(DWORD stream) {
  DWORD mode = 0;
  return GetConsoleMode(GetStdHandle(stream), &mode) != 0;
}

/// Names a temporary file beside `path`, told from those of other processes and threads.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<uint32_t> counter = 0;
  std::filesystem::path name = path;
  name += fmt::format(".{}-{}.tmp", GetCurrentProcessId(), counter++);
  return name;
}

/// Writes all bytes; returns ERROR_SUCCESS or the error.
DWORD write_all(HANDLE file, std::span<const std::byte> rest) {
  constexpr size_t kMaxWrite = size_t{1} << 30;
  while (!rest.empty()) {
    DWORD written = 0;
    const auto size = static_cast<DWORD>(std::min(rest.size(), kMaxWrite));
    if (!WriteFile(file, rest.data(), size, &written, nullptr)) return GetLastError();
    if (written == 0) return ERROR_DISK_FULL;
    rest = rest.subspan(written);
  }
  return ERROR_SUCCESS;
}

/// Makes a new file of what `produce` writes and flushes it to the disk.
Status write_new_file(const std::filesystem::path& path, const std::filesystem::path& shown_path,
                      const std::function<Status(const WriteBytes&)>& produce) {
  const auto cannot = [&](DWORD error) {
    return fail(code_of(error), "{}: cannot be written: {}", shown(shown_path), system_message(error));
  };
  const Handle file(CreateFileW(path.c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr));
  if (!file.is_open()) return cannot(GetLastError());
  CRIA_TRY(produce([&](std::span<const std::byte> bytes) -> Status {
    if (const DWORD error = write_all(file.get(), bytes); error != ERROR_SUCCESS) return cannot(error);
    return {};
  }));
  if (!FlushFileBuffers(file.get())) return cannot(GetLastError());
  return {};
}

}  // namespace

bool stderr_is_terminal() { return is_terminal(STD_ERROR_HANDLE); }
bool stdin_is_terminal() { return is_terminal(STD_INPUT_HANDLE); }

void ignore_broken_pipes() {}  // there is no signal for them
void end_connection(int socket) { ::shutdown(static_cast<SOCKET>(socket), SD_BOTH); }

void catch_interrupts(bool /*ends_reads: the console always does*/) { SetConsoleCtrlHandler(on_interrupt, TRUE); }
bool interrupted() { return interrupt_count > 0; }
void clear_interrupts() { interrupt_count = 0; }

Status write_file_in_pieces(const std::filesystem::path& path,
                            const std::function<Status(const WriteBytes&)>& produce) {
  const std::filesystem::path temporary = temporary_name(path);
  Status status = write_new_file(temporary, path, produce);
  if (status && !MoveFileExW(temporary.c_str(), path.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
    const DWORD error = GetLastError();
    status = fail(code_of(error), "{}: cannot be written: {}", shown(path), system_message(error));
  }
  if (!status) DeleteFileW(temporary.c_str());
  return status;
}

void flush_folder(const std::filesystem::path& /*folder*/) {}  // renames are written through

std::filesystem::path executable_path() {
  wchar_t buffer[32768];  // the longest path there is
  const DWORD size = GetModuleFileNameW(nullptr, buffer, static_cast<DWORD>(std::size(buffer)));
  return size < std::size(buffer) ? std::filesystem::path(buffer, buffer + size) : std::filesystem::path();
}

std::filesystem::path user_cache_folder() {
  wchar_t buffer[32768];
  const DWORD size = GetEnvironmentVariableW(L"LOCALAPPDATA", buffer, static_cast<DWORD>(std::size(buffer)));
  return size > 0 && size < std::size(buffer) ? std::filesystem::path(buffer, buffer + size) : std::filesystem::path();
}

void set_environment(const std::string& name, const std::string& value) { _putenv_s(name.c_str(), value.c_str()); }

uint64_t peak_memory_bytes() {
  PROCESS_MEMORY_COUNTERS counters{};
  if (!GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof(counters))) return 0;
  return counters.PeakWorkingSetSize;
}

uint64_t physical_memory_bytes() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

double cpu_seconds() {
  FILETIME created{}, ended{}, kernel{}, user{};
  if (!GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user)) return 0;
  const auto ticks = [](const FILETIME& time) {
    return static_cast<double>((uint64_t{time.dwHighDateTime} << 32) | time.dwLowDateTime);
  };
  return (ticks(kernel) + ticks(user)) * 1e-7;  // of 100 ns
}

}  // namespace platform
}  // namespace cria
