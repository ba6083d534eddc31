// Errors as values: what every fallible function of Cria returns.
//
// Anything that depends on files, flags, sockets or the GPU returns Result<T>. An Error carries one
// sentence that names the thing, the offending value and the limit, and the chain of what was being
// done when it happened. Exceptions never cross a module; CHECK is for our own bugs only.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria {

/// What kind of failure happened; callers map it to exit codes and HTTP status codes.
enum class ErrorCode {
  kInvalidInput,  ///< a file, flag, prompt or request that is malformed or out of range
  kNotFound,      ///< a file, device or tensor that does not exist
  kUnsupported,   ///< well-formed, but something that Cria does not implement
  kOutOfMemory,   ///< an allocation that the device or the host refused
  kDevice,        ///< the GPU or its driver failed, or was lost
  kIo,            ///< the operating system refused to read or write
  kNotFinite,     ///< the model produced NaN or infinity
};

class Error {
 public:
  Error(ErrorCode code, std::string sentence) : code_(code), sentence_(std::move(sentence)) {}

  [[nodiscard]] ErrorCode code() const { return code_; }
  /// The innermost sentence, without the context chain.
  [[nodiscard]] const std::string& sentence() const { return sentence_; }
  /// The context chain, innermost first.
  [[nodiscard]] const std::vector<std::string>& context() const { return context_; }

  /// Appends what was being done, for example `loading models/llama`.
  Error&& while_doing(std::string what) && {
    context_.push_back(std::move(what));
    return std::move(*this);
  }

  /// The sentence followed by its context: `SENTENCE (while X, while Y)`.
  [[nodiscard]] std::string message() const;

 private:
  ErrorCode code_;
  std::string sentence_;
  std::vector<std::string> context_;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

/// Makes the error branch of a Result: `return fail(ErrorCode::kIo, "{}: cannot be read", path);`
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error(code, fmt::format(format, std::forward<Args>(args)...)));
}

/// Formats a count with thousands separators: 2214592 becomes "2,214,592".
std::string with_commas(unsigned long long value);

/// Formats a byte count for people: "22.0 MB", "512 bytes" (powers of ten).
std::string human_bytes(unsigned long long bytes);

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace cria

/// Aborts with the condition's text: for our own bugs, never for input.
#define CRIA_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::cria::check_failed(#condition, __FILE__, __LINE__))

#define CRIA_CONCAT_INNER(a, b) a##b
#define CRIA_CONCAT(a, b) CRIA_CONCAT_INNER(a, b)

/// Returns the error of `expression` (a Status or Result) from the enclosing function, if it has one.
#define CRIA_TRY(expression)                                  \
  do {                                                        \
    if (auto cria_status = (expression); !cria_status) {      \
      return std::unexpected(std::move(cria_status).error()); \
    }                                                         \
  } while (false)

/// `CRIA_TRY_ASSIGN(auto file, open(path));` declares the value or returns the error.
#define CRIA_TRY_ASSIGN(declaration, expression) \
  CRIA_TRY_ASSIGN_INNER(CRIA_CONCAT(cria_result_, __LINE__), declaration, expression)
#define CRIA_TRY_ASSIGN_INNER(result, declaration, expression)    \
  auto result = (expression);                                     \
  if (!result) return std::unexpected(std::move(result).error()); \
  declaration = *std::move(result)
