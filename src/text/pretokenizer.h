// Cutting a text into words before the merges: linear scanners for the published patterns.
//
// The regular expressions in tokenizer.json are recognised by their spelling and run by hand-written
// scanners; an unknown one is refused, so that no pattern from a file can make us backtrack.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

/// The patterns that are known.
enum class Pattern : uint8_t {
  kGpt2,         ///< contractions, words, numbers, punctuation, blanks
  kLlama3,       ///< case-insensitive contractions, numbers of up to 3 digits
  kQwen2,        ///< as Llama 3, with single digits
  kTekken,       ///< words cut where small letters end and capitals follow, single digits (Mistral Nemo)
  kSymbols,      ///< runs of punctuation and $+<=>^~|
  kThreeDigits,  ///< 0 to 9, three at a time
};

/// The end of the piece that begins at text[at]. Amortised linear over a text.
[[nodiscard]] size_t scan_piece(Pattern pattern, std::string_view text, size_t at);

/// The regular expression, as it is spelled in tokenizer.json.
[[nodiscard]] std::string_view pattern_text(Pattern pattern);

/// All steps of a pre-tokenizer, in order.
class PreTokenizer {
 public:
  /// From the "pre_tokenizer" of tokenizer.json (null for none). Errors: kUnsupported naming the type or
  /// pattern, kInvalidInput.
  static Result<PreTokenizer> from_json(const Json& json, std::string_view name);

  /// Pieces of a text; `is_first` where it begins the whole input. Byte-level pieces are raw bytes.
  [[nodiscard]] std::vector<std::string> split(std::string_view text, bool is_first) const;
  /// Whether the model works on bytes (true) or characters.
  [[nodiscard]] bool is_byte_level() const { return byte_level_; }

 private:
  enum class Kind : uint8_t { kPattern, kDigits, kSingleDigits, kPrefixSpace, kMetaspace };
  enum class Prepend : uint8_t { kAlways, kFirst, kNever };
  struct Step {
    Kind kind{};
    Pattern pattern{};
    Prepend prepend{};
    bool split = true;
    std::string replacement;
  };

  Status add(const Json& json, std::string_view name, int depth);
  Status add_split(const Json& json, std::string_view name);
  Status add_metaspace(const Json& json, std::string_view name);
  static void apply(const Step& step, std::string piece, bool is_first, std::vector<std::string>& out);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace cria::text
