#include "cli/streams.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace cria::cli {
namespace {

/// A text above this size is a mistake, not a prompt.
constexpr size_t kMaxTextBytes = 64ULL << 20;

/// What the system says of the last failure.
const char* reason(const char* otherwise) { return errno != 0 ? std::strerror(errno) : otherwise; }

Result<std::string> read_all(std::FILE* stream, std::string_view name) {
  std::string text;
  char piece[65536];
  errno = 0;
  while (const size_t count = std::fread(piece, 1, sizeof(piece), stream)) {
    text.append(piece, count);
    if (text.size() > kMaxTextBytes) {
      return fail(ErrorCode::kInvalidInput, "{}: the text is longer than {} bytes", name, with_commas(kMaxTextBytes));
    }
  }
  if (std::ferror(stream) == 0) return text;
  return fail(ErrorCode::kIo, "{}: cannot be read: {}", name, reason("reading failed"));
}

}  // namespace

Status write_output(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return fail(ErrorCode::kIo, "the text cannot be written to standard output: {}", reason("it is closed"));
}

Status write_json(const Json& value) {
  return write_output(value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Result<std::string> read_input() { return read_all(stdin, "standard input"); }

Result<std::string> read_text_file(const std::filesystem::path& path) {
  errno = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.string().c_str(), "rb"), std::fclose);
  if (file) return read_all(file.get(), path.string());
  const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  return fail(code, "{}: cannot be opened: {}", path.string(), reason("opening failed"));
}

}  // namespace cria::cli
