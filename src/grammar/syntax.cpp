#include "grammar/syntax.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "grammar/vocabulary.h"

namespace cria::grammar {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view name, const SyntaxLimits& limits)
      : text_(text), name_(name), limits_(limits) {}

  Result<Syntax> parse() {
    if (text_.size() > limits_.bytes) {
      return fail(ErrorCode::kInvalidInput, "{}: the grammar has {} bytes: at most {} are taken", name_,
                  with_commas(text_.size()), with_commas(limits_.bytes));
    }
    skip_space(true);
    while (at_ < text_.size()) CRIA_TRY(rule());
    for (const Rule& rule : syntax_.rules) {
      if (rule.is_defined) continue;
      return fail(ErrorCode::kInvalidInput, "{}: line {} uses the rule \"{}\", which is not defined", name_, rule.line,
                  rule.name.substr(0, kShownName));
    }
    const auto root = indices_.find("root");
    if (root == indices_.end()) {
      return fail(ErrorCode::kInvalidInput, "{}: there is no rule \"root\", which a text is matched with", name_);
    }
    syntax_.root = root->second;
    return std::move(syntax_);
  }

 private:
  static constexpr size_t kShownName = 60;
  static constexpr uint32_t kMaxStacked = 8;  // repetitions of one element, as in x?*

  template <typename... Args>
  [[nodiscard]] std::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    return wrong_at(at_, fmt::format(format, std::forward<Args>(args)...));
  }
  /// Columns count characters from 1.
  [[nodiscard]] std::unexpected<Error> wrong_at(size_t at, const std::string& what) const {
    const std::string_view before = text_.substr(0, at);
    const size_t line_begin = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    const auto is_lead = [](char c) { return (static_cast<uint8_t>(c) & 0xC0U) != 0x80; };
    return fail(ErrorCode::kInvalidInput, "{}: line {}, column {}: {}", name_, 1 + std::ranges::count(before, '\n'),
                1 + std::ranges::count_if(before.substr(line_begin), is_lead), what);
  }

  [[nodiscard]] bool is_next(char c) const { return at_ < text_.size() && text_[at_] == c; }
  /// What stands here, for a message.
  [[nodiscard]] std::string here() const {
    if (at_ >= text_.size()) return "the end";
    if (text_[at_] == '\n' || text_[at_] == '\r') return "the end of the line";
    const auto character = character_at(text_, at_);
    if (!character) return "a byte that is not UTF-8";
    if (character->value < 0x20) return fmt::format("U+{:04X}", character->value);
    return fmt::format("\"{}\"", text_.substr(at_, character->bytes));
  }

  /// Blanks, comments and, where a rule may go on there, line breaks.
  void skip_space(bool over_lines) {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ + 1 < text_.size() && text_[at_ + 1] != '\n' && text_[at_ + 1] != '\r') ++at_;
      } else if (c != ' ' && c != '\t' && (!over_lines || (c != '\n' && c != '\r'))) {
        return;
      }
    }
  }

  Result<std::string> read_name() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    if (at_ == begin) return wrong("a rule's name is expected here, not {}", here());
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<uint32_t> rule_index(const std::string& name) {
    const auto [found, is_new] = indices_.try_emplace(name, static_cast<uint32_t>(syntax_.rules.size()));
    if (is_new) {
      if (syntax_.rules.size() >= limits_.rules) {
        return wrong("the grammar has more than {} rules", with_commas(limits_.rules));
      }
      syntax_.rules.push_back({.name = name, .line = current_line()});
    }
    return found->second;
  }

  /// The number of the line that is being read; counts on from where it was asked last.
  uint32_t current_line() {
    line_ += static_cast<uint32_t>(std::ranges::count(text_.substr(counted_to_, at_ - counted_to_), '\n'));
    counted_to_ = at_;
    return line_;
  }

  Result<uint32_t> add(Part part) {
    if (syntax_.parts.size() >= limits_.parts) {
      return wrong("the grammar has more than {} elements", with_commas(limits_.parts));
    }
    syntax_.parts.push_back(std::move(part));
    return static_cast<uint32_t>(syntax_.parts.size() - 1);
  }

  Status rule() {
    const size_t begin = at_;
    CRIA_TRY_ASSIGN(const std::string name, read_name());
    CRIA_TRY_ASSIGN(const uint32_t index, rule_index(name));
    if (syntax_.rules[index].is_defined) {
      return wrong_at(begin, fmt::format("the rule \"{}\" is defined twice, first in line {}",
                                         name.substr(0, kShownName), syntax_.rules[index].line));
    }
    syntax_.rules[index].is_defined = true;
    syntax_.rules[index].line = current_line();
    skip_space(false);
    if (!text_.substr(at_).starts_with("::=")) return wrong("\"::=\" is expected behind a rule's name, not {}", here());
    at_ += 3;
    skip_space(true);
    CRIA_TRY_ASSIGN(const uint32_t part, alternatives(0));
    syntax_.rules[index].part = part;
    if (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') {
      return wrong("{} is not expected here", here());
    }
    skip_space(true);
    return {};
  }

  Result<uint32_t> alternatives(uint32_t depth) {
    if (depth > limits_.depth) return wrong("groups are nested deeper than {}", limits_.depth);
    std::vector<uint32_t> choices;
    for (;;) {
      CRIA_TRY_ASSIGN(const uint32_t choice, sequence(depth));
      choices.push_back(choice);
      const size_t end = at_;
      skip_space(true);  // the next alternative may begin a line
      if (!is_next('|')) {
        at_ = end;
        break;
      }
      ++at_;
      skip_space(true);
    }
    if (choices.size() == 1) return choices.front();
    return add({.kind = Part::Kind::kAlternatives, .text = {}, .set = {}, .parts = std::move(choices)});
  }

  Result<uint32_t> sequence(uint32_t depth) {
    std::vector<uint32_t> parts;
    for (;;) {
      CRIA_TRY_ASSIGN(const std::optional<uint32_t> part, element(depth));
      if (!part) break;
      CRIA_TRY_ASSIGN(const uint32_t repeated, repetitions(*part));
      parts.push_back(repeated);
      skip_space(depth > 0);
    }
    if (parts.size() == 1) return parts.front();
    return add({.kind = Part::Kind::kSequence, .text = {}, .set = {}, .parts = std::move(parts)});
  }

  /// One element, or nothing where a sequence ends.
  Result<std::optional<uint32_t>> element(uint32_t depth) {
    if (at_ >= text_.size()) return std::nullopt;
    const char c = text_[at_];
    if (c == '"') return literal();
    if (c == '[') return set();
    if (c == '.') {
      ++at_;
      return add({.kind = Part::Kind::kSet, .text = {}, .set = complement({}), .parts = {}});
    }
    if (c == '(') return group(depth);
    if (c == '<') return special_token();
    if (!is_name_character(c)) return std::nullopt;
    CRIA_TRY_ASSIGN(const std::string name, read_name());
    CRIA_TRY_ASSIGN(const uint32_t rule, rule_index(name));
    return add({.kind = Part::Kind::kRule, .rule = rule, .text = {}, .set = {}, .parts = {}});
  }

  Result<uint32_t> group(uint32_t depth) {
    const size_t begin = at_++;
    skip_space(true);
    CRIA_TRY_ASSIGN(const uint32_t part, alternatives(depth + 1));
    if (at_ >= text_.size()) return wrong_at(begin, "the group that begins here has no \")\"");
    if (text_[at_] != ')') return wrong("{} is not expected in a group", here());
    ++at_;
    return part;
  }

  /// <[17]>
  Result<uint32_t> special_token() {
    const size_t begin = at_;
    const size_t end = text_.find("]>", at_);
    const std::string_view digits = text_.substr(at_, end == std::string_view::npos ? 0 : end - at_).substr(0, 14);
    uint32_t token = 0;
    const bool is_token = digits.starts_with("<[") && digits.size() > 2;
    const auto [last, error] =
        std::from_chars(digits.data() + (is_token ? 2 : 0), digits.data() + digits.size(), token);
    if (!is_token || error != std::errc() || last != digits.data() + digits.size()) {
      return wrong_at(begin, "a special token is written with its number, as in <[17]>");
    }
    at_ = end + 2;
    return add({.kind = Part::Kind::kText, .text = special_token_bytes(token), .set = {}, .parts = {}});
  }

  Result<uint32_t> literal() {
    const size_t begin = at_++;
    std::string bytes;
    while (!is_next('"')) {
      if (at_ >= text_.size() || text_[at_] == '\n') return wrong_at(begin, "the text that begins here has no end");
      CRIA_TRY_ASSIGN(const uint32_t character, read_character());
      append_character(bytes, character);
    }
    ++at_;
    return add({.kind = Part::Kind::kText, .text = std::move(bytes), .set = {}, .parts = {}});
  }

  Result<uint32_t> set() {
    const size_t begin = at_++;
    const bool is_negated = is_next('^');
    if (is_negated) ++at_;
    CharacterSet ranges;
    while (!is_next(']')) {
      if (at_ >= text_.size() || text_[at_] == '\n') return wrong_at(begin, "the class that begins here has no \"]\"");
      const size_t from = at_;
      CRIA_TRY_ASSIGN(const uint32_t first, read_character());
      uint32_t last = first;
      if (is_next('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        CRIA_TRY_ASSIGN(last, read_character());
      }
      if (last < first) {
        return wrong_at(from, fmt::format("the range from U+{:04X} to U+{:04X} is backwards", first, last));
      }
      ranges.push_back({first, last});
    }
    ++at_;
    CharacterSet characters = normalized(std::move(ranges));
    if (is_negated) characters = complement(characters);
    if (characters.empty()) return wrong_at(begin, "the class that begins here holds no character");
    return add({.kind = Part::Kind::kSet, .text = {}, .set = std::move(characters), .parts = {}});
  }

  /// A character as it stands, or an escape.
  Result<uint32_t> read_character() {
    const auto character = character_at(text_, at_);
    if (!character) return wrong("the bytes here are not UTF-8");
    if (character->value != '\\') {
      at_ += character->bytes;
      return character->value;
    }
    if (at_ + 1 >= text_.size()) return wrong("\"\\\" is the last character: an escape is expected");
    constexpr std::string_view kEscapes = "nrt\\\"[]-^";
    constexpr std::string_view kMeanings = "\n\r\t\\\"[]-^";
    const char letter = text_[at_ + 1];
    if (const size_t known = kEscapes.find(letter); known != std::string_view::npos) {
      at_ += 2;
      return static_cast<uint32_t>(kMeanings[known]);
    }
    if (letter == 'x') return read_hex(2);
    if (letter == 'u') return read_hex(4);
    if (letter == 'U') return read_hex(8);
    ++at_;
    return wrong("{} is no escape: \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH are known", here());
  }

  Result<uint32_t> read_hex(uint32_t digits) {
    const size_t begin = at_;
    uint64_t value = 0;
    for (uint32_t i = 0; i < digits; ++i) {
      const size_t place = begin + 2 + i;
      const int digit = place < text_.size() ? hex_digit(text_[place]) : -1;
      if (digit < 0) return wrong("\\{} needs {} hexadecimal digits", text_[begin + 1], digits);
      value = value * 16 + static_cast<uint64_t>(digit);
    }
    if (value > kLastCharacter || (value >= kFirstSurrogate && value <= kLastSurrogate)) {
      return wrong("{} is no Unicode character", text_.substr(begin, 2 + digits));
    }
    at_ += 2 + digits;
    return static_cast<uint32_t>(value);
  }

  /// What stands behind an element: * + ? {m} {m,} {m,n}, perhaps several.
  Result<uint32_t> repetitions(uint32_t part) {
    for (uint32_t count = 0;; ++count) {
      uint32_t least = 0;
      uint32_t most = kUnbounded;
      if (is_next('+')) {
        least = 1;
      } else if (is_next('?')) {
        most = 1;
      } else if (is_next('{')) {
        CRIA_TRY(read_counts(least, most));
      } else if (!is_next('*')) {
        return part;
      }
      if (count >= kMaxStacked) return wrong("an element has more than {} repetitions", kMaxStacked);
      ++at_;
      CRIA_TRY_ASSIGN(
          part,
          add({.kind = Part::Kind::kRepetition, .least = least, .most = most, .text = {}, .set = {}, .parts = {part}}));
    }
  }

  /// From "{" to before "}".
  Status read_counts(uint32_t& least, uint32_t& most) {
    const size_t begin = at_++;
    skip_space(false);
    CRIA_TRY_ASSIGN(least, read_count());
    most = least;
    if (is_next(',')) {
      ++at_;
      skip_space(false);
      most = kUnbounded;
      if (!is_next('}')) {
        CRIA_TRY_ASSIGN(most, read_count());
      }
    }
    if (!is_next('}')) return wrong("\"}}\" is expected behind the counts, not {}", here());
    if (most < least) return wrong_at(begin, fmt::format("at least {} and at most {} is no count", least, most));
    return {};
  }

  Result<uint32_t> read_count() {
    const size_t begin = at_;
    uint64_t count = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      count = std::min<uint64_t>(count * 10 + static_cast<uint64_t>(text_[at_] - '0'), kUnbounded);
      ++at_;
    }
    if (at_ == begin) return wrong("a count is expected here, not {}", here());
    if (count > limits_.repetitions) {
      return wrong_at(
          begin, fmt::format("the count {} is above {}, the most that is taken",
                             text_.substr(begin, std::min<size_t>(at_ - begin, 20)), with_commas(limits_.repetitions)));
    }
    skip_space(false);
    return static_cast<uint32_t>(count);
  }

  std::string_view text_;
  std::string_view name_;
  SyntaxLimits limits_;
  size_t at_ = 0;
  size_t counted_to_ = 0;
  uint32_t line_ = 1;
  Syntax syntax_;
  std::unordered_map<std::string, uint32_t> indices_;
};

}  // namespace

Result<Syntax> parse_syntax(std::string_view text, std::string_view name, const SyntaxLimits& limits) {
  return Parser(text, name, limits).parse();
}

}  // namespace cria::grammar
