#include "text/pretokenizer.h"

#include <algorithm>
#include <cstring>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSymbolsPattern = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kThreeDigitsPattern = "[0-9][0-9][0-9]";

enum class Class : uint8_t { kLetter, kNumber, kSpace, kOther, kEnd };

/// A position in a text, with the class of the character there.
class Cursor {
 public:
  Cursor(std::string_view text, size_t at) : text_(text), at_(at) { read(); }
  [[nodiscard]] size_t at() const { return at_; }
  [[nodiscard]] Class kind() const { return kind_; }
  [[nodiscard]] char32_t value() const { return point_.value; }
  [[nodiscard]] bool is_newline() const { return point_.value == '\r' || point_.value == '\n'; }
  void next() {
    at_ += point_.bytes;
    read();
  }
  /// Moves past all characters of a class; returns how many.
  size_t skip(Class kind, size_t limit = SIZE_MAX) {
    size_t count = 0;
    for (; kind_ == kind && count < limit; ++count) next();
    return count;
  }

 private:
  void read() {
    if (at_ >= text_.size()) {
      kind_ = Class::kEnd;
      point_ = {.value = CodePoint::kInvalid, .bytes = 0};
      return;
    }
    point_ = decode_utf8(text_, at_);
    kind_ = is_letter(point_.value)        ? Class::kLetter
            : is_number(point_.value)      ? Class::kNumber
            : is_white_space(point_.value) ? Class::kSpace
                                           : Class::kOther;
  }

  std::string_view text_;
  size_t at_;
  CodePoint point_;
  Class kind_{};
};

/// The end of a contraction ('s 't 're 've 'm 'll 'd) at text[at], or nothing.
std::optional<size_t> scan_contraction(std::string_view text, size_t at, bool ignore_case) {
  if (text[at] != '\'') return std::nullopt;
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  const char first = letter(at + 1);
  const char second = letter(at + 2);
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return at + 3;
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  // Without regard to case, the long s (U+017F) is an s too.
  if (ignore_case && text.substr(at + 1, 2) == "\xC5\xBF") return at + 3;
  return std::nullopt;
}

/// The end of a run of blanks: without its last character where a word follows, so that the word can
/// take it, unless it is the only one: \s+(?!\S)|\s+
size_t scan_blanks(std::string_view text, size_t at) {
  Cursor cursor(text, at);
  size_t last = at;
  size_t count = 0;
  for (; cursor.kind() == Class::kSpace; ++count) {
    last = cursor.at();
    cursor.next();
  }
  return cursor.kind() == Class::kEnd || count <= 1 ? cursor.at() : last;
}

size_t scan_gpt2(std::string_view text, size_t at) {
  if (const auto end = scan_contraction(text, at, false)) return *end;
  Cursor cursor(text, at);
  if (cursor.value() == ' ') cursor.next();  // each of the next three may begin with one space
  if (cursor.kind() == Class::kSpace || cursor.kind() == Class::kEnd) return scan_blanks(text, at);
  cursor.skip(cursor.kind());
  return cursor.at();
}

/// The end of a run of blanks in the Llama 3 family: up to its last line break where it has one
/// (\s*[\r\n]+), else as scan_blanks.
size_t scan_lines(std::string_view text, size_t at) {
  Cursor cursor(text, at);
  size_t after_break = at;
  while (cursor.kind() == Class::kSpace) {
    const bool is_newline = cursor.is_newline();
    cursor.next();
    if (is_newline) after_break = cursor.at();
  }
  return after_break > at ? after_break : scan_blanks(text, at);
}

size_t scan_llama3(std::string_view text, size_t at, size_t digits) {
  if (const auto end = scan_contraction(text, at, true)) return *end;
  Cursor cursor(text, at);
  // [^\r\n\p{L}\p{N}]?\p{L}+
  Cursor word = cursor;
  if (word.kind() != Class::kLetter && word.kind() != Class::kNumber && !word.is_newline()) word.next();
  if (word.skip(Class::kLetter) > 0) return word.at();
  if (cursor.skip(Class::kNumber, digits) > 0) return cursor.at();
  // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
  Cursor symbols = cursor;
  if (symbols.value() == ' ') symbols.next();
  if (symbols.skip(Class::kOther) > 0) {
    while (symbols.is_newline()) symbols.next();
    return symbols.at();
  }
  return scan_lines(text, at);
}

/// The end of a word as Tekken has them, or nothing: capitals, then small letters, at least one of either. Letters
/// without case and marks count as both; [U]*[L]+ and, where that does not match, [U]+[L]*.
std::optional<size_t> scan_cased_word(std::string_view text, size_t at) {
  Cursor cursor(text, at);
  size_t last_either = at;  // the end of the last character that is both
  while (cursor.kind() != Class::kEnd) {
    const Casing found = casing(cursor.value());
    if (found != Casing::kCapital && found != Casing::kEither) break;
    cursor.next();
    if (found == Casing::kEither) last_either = cursor.at();
  }
  const size_t capitals_end = cursor.at();
  while (cursor.kind() != Class::kEnd) {
    const Casing found = casing(cursor.value());
    if (found != Casing::kSmall && found != Casing::kEither) break;
    cursor.next();
  }
  if (cursor.at() > capitals_end) return cursor.at();
  // No small letter follows: the first form gives characters back until one that is both ends the word.
  if (last_either > at) return last_either;
  return capitals_end > at ? std::optional(capitals_end) : std::nullopt;
}

size_t scan_tekken(std::string_view text, size_t at) {
  const Cursor cursor(text, at);
  const bool may_lead = cursor.kind() != Class::kLetter && cursor.kind() != Class::kNumber && !cursor.is_newline();
  if (may_lead) {
    Cursor word = cursor;
    word.next();
    if (const auto end = scan_cased_word(text, word.at())) return *end;
  }
  if (const auto end = scan_cased_word(text, at)) return *end;
  if (cursor.kind() == Class::kNumber) return at + decode_utf8(text, at).bytes;
  Cursor symbols = cursor;
  if (symbols.value() == ' ') symbols.next();
  if (symbols.skip(Class::kOther) > 0) {
    while (symbols.is_newline() || symbols.value() == '/') symbols.next();
    return symbols.at();
  }
  return scan_lines(text, at);
}

/// The end of a run of characters that `belongs` accepts, or of the run up to the next such character.
template <typename Belongs>
size_t scan_run(std::string_view text, size_t at, const Belongs& belongs) {
  Cursor cursor(text, at);
  const bool first = belongs(cursor.value());
  while (cursor.kind() != Class::kEnd && belongs(cursor.value()) == first) cursor.next();
  return cursor.at();
}

bool is_symbol(char32_t value) {
  return is_punctuation(value) || (value < 0x80 && value != 0 && std::strchr("$+<=>^~|", static_cast<int>(value)));
}

/// The end of three digits, or of what comes before the next three.
size_t scan_three_digits(std::string_view text, size_t at) {
  const auto three_at = [&](size_t i) {
    return i + 3 <= text.size() &&
           std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i), text.begin() + static_cast<std::ptrdiff_t>(i + 3),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  if (three_at(at)) return at + 3;
  while (at < text.size() && !three_at(at)) ++at;
  return at;
}

std::vector<std::string> split_by_pattern(Pattern pattern, std::string_view text) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t end = scan_piece(pattern, text, at);
    pieces.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

/// Numbers apart from the rest: each run of digits, or each single digit.
std::vector<std::string> split_digits(std::string_view text, bool single) {
  std::vector<std::string> pieces;
  Cursor cursor(text, 0);
  while (cursor.kind() != Class::kEnd) {
    const size_t begin = cursor.at();
    if (cursor.kind() == Class::kNumber) {
      cursor.skip(Class::kNumber, single ? 1 : SIZE_MAX);
    } else {
      while (cursor.kind() != Class::kNumber && cursor.kind() != Class::kEnd) cursor.next();
    }
    pieces.emplace_back(text.substr(begin, cursor.at() - begin));
  }
  return pieces;
}

std::string replace_spaces(std::string_view text, const std::string& replacement) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == ' ') {
      out += replacement;
    } else {
      out += c;
    }
  }
  return out;
}

/// Cuts before each occurrence of the mark, which stays at the begin of its piece.
void split_before(const std::string& text, const std::string& mark, std::vector<std::string>& out) {
  size_t begin = 0;
  for (size_t at = text.find(mark, 1); at != std::string::npos; at = text.find(mark, at + mark.size())) {
    if (at > begin) out.push_back(text.substr(begin, at - begin));
    begin = at;
  }
  out.push_back(text.substr(begin));
}

}  // namespace

size_t scan_piece(Pattern pattern, std::string_view text, size_t at) {
  switch (pattern) {
    case Pattern::kGpt2: return scan_gpt2(text, at);
    case Pattern::kLlama3: return scan_llama3(text, at, 3);
    case Pattern::kQwen2: return scan_llama3(text, at, 1);
    case Pattern::kTekken: return scan_tekken(text, at);
    case Pattern::kSymbols: return scan_run(text, at, is_symbol);
    case Pattern::kThreeDigits: return scan_three_digits(text, at);
  }
  return text.size();
}

std::string_view pattern_text(Pattern pattern) {
  switch (pattern) {
    case Pattern::kGpt2: return kGpt2Pattern;
    case Pattern::kLlama3: return kLlama3Pattern;
    case Pattern::kQwen2: return kQwen2Pattern;
    case Pattern::kTekken: return kTekkenPattern;
    case Pattern::kSymbols: return kSymbolsPattern;
    case Pattern::kThreeDigits: return kThreeDigitsPattern;
  }
  return {};
}

Result<PreTokenizer> PreTokenizer::from_json(const Json& json, std::string_view name) {
  PreTokenizer result;
  if (!json.is_null()) CRIA_TRY(result.add(json, name, 0));
  return result;
}

Status PreTokenizer::add(const Json& json, std::string_view name, int depth) {
  constexpr int kMaxDepth = 4;
  constexpr size_t kMaxSteps = 8;
  if (!json.is_object() || depth > kMaxDepth) {
    return fail(ErrorCode::kInvalidInput, "{}: a pre-tokenizer is not an object, or nested deeper than {}", name,
                kMaxDepth);
  }
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
  if (type == "Sequence") {
    const Json* list = fields.find("pretokenizers");
    if (list == nullptr || !list->is_array()) {
      return fail(ErrorCode::kInvalidInput, "{}: a pre-tokenizer sequence has no \"pretokenizers\" list", name);
    }
    for (const Json& step : *list) CRIA_TRY(add(step, name, depth + 1));
    return {};
  }
  // The limit also bounds how far a few steps that each put something before each piece can grow a text.
  if (steps_.size() >= kMaxSteps || byte_level_) {
    return fail(ErrorCode::kUnsupported,
                "{}: a pre-tokenizer of more than {} steps, or with a step after ByteLevel, {}", name, kMaxSteps,
                "is not supported");
  }
  if (type == "ByteLevel") {
    CRIA_TRY_ASSIGN(const auto prefix, fields.boolean("add_prefix_space"));
    CRIA_TRY_ASSIGN(const auto use_regex, fields.boolean("use_regex"));
    byte_level_ = true;
    if (prefix.value_or(true)) steps_.push_back({.kind = Kind::kPrefixSpace, .replacement = ""});
    if (use_regex.value_or(true))
      steps_.push_back({.kind = Kind::kPattern, .pattern = Pattern::kGpt2, .replacement = ""});
    return {};
  }
  if (type == "Split") return add_split(json, name);
  if (type == "Metaspace") return add_metaspace(json, name);
  if (type == "Digits") {
    CRIA_TRY_ASSIGN(const auto single, fields.boolean("individual_digits"));
    steps_.push_back({.kind = single.value_or(false) ? Kind::kSingleDigits : Kind::kDigits, .replacement = ""});
    return {};
  }
  return fail(ErrorCode::kUnsupported, "{}: the pre-tokenizer \"{}\" is not supported", name, type.value_or("(none)"));
}

Status PreTokenizer::add_split(const Json& json, std::string_view name) {
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(const auto behavior, fields.string("behavior"));
  CRIA_TRY_ASSIGN(const auto invert, fields.boolean("invert"));
  const Json* pattern = fields.find("pattern");
  if (pattern == nullptr || !pattern->is_object()) {
    return fail(ErrorCode::kInvalidInput, "{}: a Split pre-tokenizer has no \"pattern\"", name);
  }
  CRIA_TRY_ASSIGN(const auto regex, JsonFields(*pattern, name).string("Regex"));
  if (!regex || behavior != "Isolated" || invert.value_or(false)) {
    return fail(ErrorCode::kUnsupported,
                "{}: a Split pre-tokenizer other than an isolated, uninverted Regex is not supported", name);
  }
  for (const Pattern known : {Pattern::kGpt2, Pattern::kLlama3, Pattern::kQwen2, Pattern::kTekken, Pattern::kSymbols,
                              Pattern::kThreeDigits}) {
    if (pattern_text(known) != *regex) continue;
    steps_.push_back({.kind = Kind::kPattern, .pattern = known, .replacement = ""});
    return {};
  }
  return fail(ErrorCode::kUnsupported, "{}: the pre-tokenizer's pattern {} is not one that is known", name,
              shown(Json(*regex)));
}

Status PreTokenizer::add_metaspace(const Json& json, std::string_view name) {
  const JsonFields fields(json, name);
  CRIA_TRY_ASSIGN(const auto replacement, fields.string("replacement"));
  CRIA_TRY_ASSIGN(const auto scheme, fields.string("prepend_scheme"));
  CRIA_TRY_ASSIGN(const auto prefix, fields.boolean("add_prefix_space"));
  CRIA_TRY_ASSIGN(const auto split, fields.boolean("split"));
  Step step{.kind = Kind::kMetaspace, .split = split.value_or(true), .replacement = replacement.value_or("\u2581")};
  if (step.replacement.empty()) return fail(ErrorCode::kInvalidInput, "{}: a Metaspace replacement is empty", name);
  const std::string chosen = scheme ? *scheme : prefix.value_or(true) ? "always" : "never";
  if (chosen != "always" && chosen != "first" && chosen != "never") {
    return fail(ErrorCode::kUnsupported, "{}: the Metaspace scheme \"{}\" is not supported", name, chosen);
  }
  step.prepend = chosen == "always" ? Prepend::kAlways : chosen == "first" ? Prepend::kFirst : Prepend::kNever;
  steps_.push_back(step);
  return {};
}

void PreTokenizer::apply(const Step& step, std::string piece, bool is_first, std::vector<std::string>& out) {
  std::vector<std::string> pieces;
  switch (step.kind) {
    case Kind::kPattern: pieces = split_by_pattern(step.pattern, piece); break;
    case Kind::kDigits: pieces = split_digits(piece, false); break;
    case Kind::kSingleDigits: pieces = split_digits(piece, true); break;
    case Kind::kPrefixSpace:
      if (!piece.starts_with(' ')) piece.insert(piece.begin(), ' ');
      out.push_back(std::move(piece));
      return;
    case Kind::kMetaspace: {
      std::string marked = replace_spaces(piece, step.replacement);
      const bool prepend = step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && is_first);
      if (prepend && !marked.starts_with(step.replacement)) marked.insert(0, step.replacement);
      if (step.split) {
        split_before(marked, step.replacement, out);
      } else {
        out.push_back(std::move(marked));
      }
      return;
    }
  }
  std::move(pieces.begin(), pieces.end(), std::back_inserter(out));
}

std::vector<std::string> PreTokenizer::split(std::string_view text, bool is_first) const {
  std::vector<std::string> pieces;
  if (text.empty()) return pieces;
  pieces.emplace_back(text);
  for (const Step& step : steps_) {
    std::vector<std::string> next;
    bool first = is_first;
    for (std::string& piece : pieces) apply(step, std::move(piece), std::exchange(first, false), next);
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace cria::text
