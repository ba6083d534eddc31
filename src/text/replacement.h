// A Replace step, the same in normalizers and decoders: every occurrence of a string becomes another.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

struct Replacement {
  std::string pattern;  ///< never empty
  std::string content;

  /// From {"pattern": {"String": …}, "content": …}; `what` ("Replace normalizer") is for messages.
  /// Errors: kUnsupported for a Regex pattern, kInvalidInput.
  static Result<Replacement> from_json(const Json& json, std::string_view what, std::string_view name);

  /// Replaces from left to right, occurrences that overlap counted once. Linear.
  [[nodiscard]] std::string apply(std::string_view text) const;
};

/// How many times longer a file's steps, all together, may make a text: each step alone looks harmless, a
/// few of them in a row could fill the memory.
inline constexpr size_t kMaxGrowth = 64;

/// Multiplies up the growth of a list of steps. Errors: kUnsupported past kMaxGrowth.
class Growth {
 public:
  /// A step that turns every `from` bytes into at most `to` bytes.
  Status add(size_t from, size_t to, std::string_view what, std::string_view name);

 private:
  size_t factor_ = 1;
};

}  // namespace cria::text
