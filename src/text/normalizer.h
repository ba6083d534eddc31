// What is done to a text before it is cut: Unicode normalisation and replacements.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/replacement.h"

namespace cria::text {

class Normalizer {
 public:
  /// From the "normalizer" of tokenizer.json (null for none): Sequence, NFC, Prepend and Replace of a
  /// String. Errors: kUnsupported naming another type or steps that grow a text too much, kInvalidInput.
  static Result<Normalizer> from_json(const Json& json, std::string_view name);

  /// The normalised text: at most kMaxGrowth times as long, plus the prefixes. Linear.
  [[nodiscard]] std::string apply(std::string_view text) const;

 private:
  enum class Kind : uint8_t { kNfc, kPrepend, kReplace };
  struct Step {
    Kind kind{};
    std::string prefix;
    Replacement replacement;
  };
  Status add(const Json& json, std::string_view name, int depth);

  std::vector<Step> steps_;
  Growth growth_;
};

}  // namespace cria::text
