#include "grammar/json_pattern.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "grammar/characters.h"

namespace cria::grammar {
namespace {

constexpr uint32_t kMaxDepth = 50;
constexpr size_t kMaxBytes = 10'000;

const CharacterSet kDigits = {{'0', '9'}};
const CharacterSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharacterSet kSpaces = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                              {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharacterSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

bool holds(const CharacterSet& set, uint32_t value) {
  return std::ranges::any_of(set, [&](const CharacterRange& r) { return r.first <= value && value <= r.last; });
}

/// Characters of a set as JSON writes them in a string: some need an escape.
std::string in_json(const CharacterSet& set) {
  std::vector<std::string> alternatives;
  const CharacterSet escaped = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  CharacterSet rest = complement(set);
  rest.insert(rest.end(), escaped.begin(), escaped.end());
  const CharacterSet raw = complement(normalized(std::move(rest)));
  if (!raw.empty()) {
    std::string ranges;
    for (const CharacterRange& range : raw) ranges += fmt::format("\\U{:08X}-\\U{:08X}", range.first, range.last);
    alternatives.push_back(fmt::format("[{}]", ranges));
  }
  constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  for (const CharacterRange& range : escaped) {
    for (uint32_t value = range.first; value <= range.last; ++value) {
      if (!holds(set, value)) continue;
      const size_t at = kShort.find(static_cast<char>(value));
      if (at != std::string_view::npos) {
        const char letter = kLetters[at];
        alternatives.push_back(fmt::format("\"\\\\{}{}\"", letter == '"' || letter == '\\' ? "\\" : "", letter));
      } else {
        alternatives.push_back(fmt::format("\"\\\\u00{:02x}\"", value));
      }
    }
  }
  if (alternatives.size() == 1) return alternatives.front();
  return fmt::format("({})", fmt::join(alternatives, " | "));
}

class PatternParser {
 public:
  explicit PatternParser(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> parse() {
    if (pattern_.size() > kMaxBytes) {
      return fail(ErrorCode::kInvalidInput, "the pattern has {} bytes: at most {} are taken",
                  with_commas(pattern_.size()), with_commas(kMaxBytes));
    }
    CRIA_TRY_ASSIGN(std::string rules, alternatives(0));
    if (at_ < pattern_.size()) return wrong("\")\" has no \"(\"");
    return rules;
  }

 private:
  template <typename... Args>
  [[nodiscard]] std::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorCode::kInvalidInput, "the pattern at byte {}: {}", with_commas(at_ + 1),
                fmt::format(format, std::forward<Args>(args)...));
  }
  [[nodiscard]] std::unexpected<Error> unsupported(std::string_view what) const {
    return fail(ErrorCode::kUnsupported, "the pattern at byte {}: {} not supported", with_commas(at_ + 1), what);
  }
  [[nodiscard]] bool is_next(char c) const { return at_ < pattern_.size() && pattern_[at_] == c; }
  bool take(char c) {
    if (!is_next(c)) return false;
    ++at_;
    return true;
  }

  Result<std::string> alternatives(uint32_t depth) {
    if (depth > kMaxDepth) return wrong("groups are nested deeper than {}", kMaxDepth);
    std::string rules;
    do {
      CRIA_TRY_ASSIGN(const std::string sequence, this->sequence(depth));
      rules += (rules.empty() ? "" : " | ") + sequence;
    } while (take('|'));
    return "(" + rules + ")";
  }

  Result<std::string> sequence(uint32_t depth) {
    std::string rules;
    const bool is_top = depth == 0;
    if (is_top && !take('^')) rules = "char*";
    while (at_ < pattern_.size() && !is_next('|') && !is_next(')')) {
      if (is_next('^')) return unsupported("\"^\" that is not at the begin of the pattern is");
      if (is_next('$')) {
        const bool is_end = at_ + 1 == pattern_.size() || pattern_[at_ + 1] == '|';
        if (!is_top || !is_end) return unsupported("\"$\" that is not at the end of the pattern is");
        ++at_;
        return rules.empty() ? "\"\"" : rules;
      }
      CRIA_TRY_ASSIGN(std::string atom, this->atom(depth));
      CRIA_TRY_ASSIGN(const std::string times, quantifier());
      rules += " " + atom + times;
    }
    if (is_top) rules += " char*";
    return rules.empty() ? "\"\"" : rules;
  }

  Result<std::string> atom(uint32_t depth) {
    const char c = pattern_[at_];
    if (c == '(') {
      ++at_;
      if (take('?') && !take(':')) return unsupported("a group that begins with \"(?\" but not \"(?:\" is");
      CRIA_TRY_ASSIGN(std::string group, alternatives(depth + 1));
      if (!take(')')) return wrong("a group has no \")\"");
      return group;
    }
    if (c == '*' || c == '+' || c == '?' || c == '{') return wrong("\"{}\" has nothing to repeat", c);
    if (c == '.') {
      ++at_;
      return in_json(complement(kLineEnds));
    }
    if (c == '[') return character_class();
    CRIA_TRY_ASSIGN(const CharacterSet set, character());
    return in_json(set);
  }

  /// What stands behind an atom; lazy ones match the same texts.
  Result<std::string> quantifier() {
    if (at_ >= pattern_.size()) return std::string();
    const char c = pattern_[at_];
    std::string times;
    if (c == '*' || c == '+' || c == '?') {
      ++at_;
      times = c;
    } else if (c == '{') {
      const size_t end = pattern_.find('}', at_);
      const std::string_view counts = pattern_.substr(at_ + 1, end == std::string_view::npos ? 0 : end - at_ - 1);
      const bool is_count = !counts.empty() && counts.front() != ',' &&
                            counts.find_first_not_of("0123456789,") == std::string_view::npos &&
                            std::ranges::count(counts, ',') <= 1 && counts.size() <= 15;
      if (!is_count) return wrong("\"{{\" begins no count such as {{2}}, {{2,}} or {{2,5}}");
      times = pattern_.substr(at_, end + 1 - at_);
      at_ = end + 1;
    } else {
      return times;
    }
    take('?');
    if (at_ < pattern_.size() && (is_next('*') || is_next('+') || is_next('?') || is_next('{'))) {
      return wrong("a repetition is repeated");
    }
    return times;
  }

  /// One character or an escape, in a class or not.
  Result<CharacterSet> character() {
    const auto here = character_at(pattern_, at_);
    if (!here) return wrong("the bytes here are not UTF-8");
    if (here->value != '\\') {
      at_ += here->bytes;
      return CharacterSet{{here->value, here->value}};
    }
    if (at_ + 1 >= pattern_.size()) return wrong("\"\\\" is the last character");
    const char letter = pattern_[at_ + 1];
    const auto known = [&](CharacterSet set) {
      at_ += 2;
      return set;
    };
    switch (letter) {
      case 'd': return known(kDigits);
      case 'D': return known(complement(kDigits));
      case 'w': return known(kWord);
      case 'W': return known(complement(kWord));
      case 's': return known(kSpaces);
      case 'S': return known(complement(kSpaces));
      case 'n': return known({{'\n', '\n'}});
      case 'r': return known({{'\r', '\r'}});
      case 't': return known({{'\t', '\t'}});
      case 'f': return known({{'\f', '\f'}});
      case 'v': return known({{'\v', '\v'}});
      case 'x': return hex(2);
      case 'u': return hex(4);
      default: break;
    }
    const bool is_letter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (is_letter || (letter >= '0' && letter <= '9')) return unsupported(fmt::format("\"\\{}\" is", letter));
    ++at_;  // another escaped character stands for itself
    const auto itself = character_at(pattern_, at_);
    if (!itself) return wrong("the bytes here are not UTF-8");
    at_ += itself->bytes;
    return CharacterSet{{itself->value, itself->value}};
  }

  Result<CharacterSet> hex(size_t digits) {
    const std::string text(pattern_.substr(at_ + 2, digits));
    if (text.size() < digits || text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      return wrong("\"\\{}\" needs {} hexadecimal digits", pattern_[at_ + 1], digits);
    }
    const auto value = static_cast<uint32_t>(std::stoul(text, nullptr, 16));
    if (value >= kFirstSurrogate && value <= kLastSurrogate) return unsupported("half of a surrogate pair is");
    at_ += 2 + digits;
    return CharacterSet{{value, value}};
  }

  Result<std::string> character_class() {
    const size_t begin = at_++;
    const bool is_negated = take('^');
    CharacterSet set;
    while (!is_next(']')) {
      if (at_ >= pattern_.size()) {
        at_ = begin;
        return wrong("a class has no \"]\"");
      }
      CRIA_TRY_ASSIGN(CharacterSet part, character());
      const bool is_single = part.size() == 1 && part.front().first == part.front().last;
      if (is_single && is_next('-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']') {
        ++at_;
        CRIA_TRY_ASSIGN(const CharacterSet last, character());
        if (last.size() != 1 || last.front().first < part.front().first) return wrong("a range is backwards");
        part.front().last = last.front().last;
      }
      set.insert(set.end(), part.begin(), part.end());
    }
    ++at_;
    set = normalized(std::move(set));
    if (is_negated) set = complement(set);
    if (set.empty()) {
      at_ = begin;
      return wrong("a class holds no character");
    }
    return in_json(set);
  }

  std::string_view pattern_;
  size_t at_ = 0;
};

}  // namespace

Result<std::string> pattern_rules(std::string_view pattern) { return PatternParser(pattern).parse(); }

}  // namespace cria::grammar
