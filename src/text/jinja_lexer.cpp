#include "text/jinja_lexer.h"

#include <algorithm>
#include <charconv>

#include "text/jinja_text.h"
#include "text/unicode.h"

namespace cria::text::jinja {
namespace {

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return is_name_start(c) || is_digit(c); }
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Line ends become "\n", and the last one goes.
std::string normalise(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      CRIA_TRY(add_text(tag));
      if (tag == std::string::npos) break;
      CRIA_TRY(add_tag());
    }
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] bool has(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }
  void add(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  /// Moves on, counting lines.
  void skip(size_t count) {
    line_ += static_cast<uint32_t>(std::ranges::count(std::string_view(source_).substr(at_, count), '\n'));
    at_ += count;
  }
  void skip_blanks() {
    while (at_ < source_.size() && is_blank(source_[at_])) skip(1);
  }

  [[nodiscard]] size_t find_tag() const {
    for (size_t at = source_.find('{', at_); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 == source_.size()) break;
      if (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#') return at;
    }
    return std::string::npos;
  }

  /// The text up to the tag at `tag`, without what the tag takes away on its left.
  Status add_text(size_t tag) {
    const size_t end = std::min(tag, source_.size());
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (tag != std::string::npos) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : 0;
      if (sign == '-') {
        text = strip(text, {}, Side::kRight);
      } else if (sign != '+' && source_[tag + 1] != '{') {
        text = without_indent(text);
      }
    }
    if (!text.empty()) add(Token::Kind::kText, std::string(text));
    skip(end - at_);
    return {};
  }

  /// lstrip_blocks: blanks between the begin of the line and a block or comment.
  [[nodiscard]] std::string_view without_indent(std::string_view text) const {
    const size_t line_break = text.rfind('\n');
    const size_t begin = line_break == std::string_view::npos ? 0 : line_break + 1;
    const bool begins_line = begin > 0 || at_ == 0 || source_[at_ - 1] == '\n';
    return begins_line && strip(text.substr(begin), {}, Side::kLeft).empty() ? text.substr(0, begin) : text;
  }

  Status unclosed(std::string_view what, uint32_t line) const {
    return fail(ErrorCode::kInvalidInput, "line {}: {} is not closed", line, what);
  }

  /// Behind the end of a tag, whose last characters have been read: "-" takes all white space, else a block or
  /// comment takes one line break.
  void trim_right(char sign, bool is_block) {
    if (sign == '-') {
      skip(source_.size() - at_ - strip(std::string_view(source_).substr(at_), {}, Side::kLeft).size());
    } else if (sign != '+' && is_block && at_ < source_.size() && source_[at_] == '\n') {
      skip(1);
    }
  }

  Status add_tag() {
    const char kind = source_[at_ + 1];
    if (kind == '#') return skip_comment();
    const uint32_t line = line_;
    const size_t raw = raw_begin();
    if (raw != 0) return add_raw(raw);
    skip(2);
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) skip(1);
    const bool is_block = kind == '%';
    add(is_block ? Token::Kind::kBlockBegin : Token::Kind::kPrintBegin, "");
    const std::string_view close = is_block ? "%}" : "}}";
    std::string open;  // brackets, within which the tag does not end
    for (;;) {
      skip_blanks();
      if (at_ >= source_.size()) return unclosed(is_block ? "a block \"{%\"" : "an expression \"{{\"", line);
      const char sign = source_[at_] == '-' || (is_block && source_[at_] == '+') ? source_[at_] : '\0';
      const size_t length = sign != 0 ? 1 : 0;
      if (open.empty() && std::string_view(source_).substr(at_ + length).starts_with(close)) {
        skip(length + 2);
        add(is_block ? Token::Kind::kBlockEnd : Token::Kind::kPrintEnd, "");
        trim_right(sign, is_block);
        return {};
      }
      CRIA_TRY(add_token(open));
    }
  }

  Status skip_comment() {
    const uint32_t line = line_;
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) return unclosed("a comment \"{#\"", line);
    const char sign = end > at_ + 2 ? source_[end - 1] : '\0';
    skip(end + 2 - at_);
    trim_right(sign, true);
    return {};
  }

  /// The length of "{% raw %}" here, or 0; its sign is looked at by add_text and add_raw.
  [[nodiscard]] size_t raw_begin() const { return keyword_block(at_, "raw"); }

  [[nodiscard]] size_t keyword_block(size_t at, std::string_view word) const {
    const std::string_view rest = std::string_view(source_).substr(at);
    if (!rest.starts_with("{%")) return 0;
    size_t i = 2;
    const auto blanks = [&] {
      while (i < rest.size() && is_blank(rest[i])) ++i;
    };
    if (i < rest.size() && (rest[i] == '-' || rest[i] == '+')) ++i;
    blanks();
    if (!rest.substr(i).starts_with(word)) return 0;
    i += word.size();
    blanks();
    if (i < rest.size() && (rest[i] == '-' || rest[i] == '+')) ++i;
    return rest.substr(i).starts_with("%}") ? i + 2 : 0;
  }

  Status add_raw(size_t length) {
    const uint32_t line = line_;
    const char begin_sign = source_[at_ + length - 3];
    skip(length);
    trim_right(begin_sign, false);
    size_t end = at_;
    while (end < source_.size() && keyword_block(end, "endraw") == 0)
      end = std::min(source_.find("{%", end + 1), source_.size());
    if (end >= source_.size()) return unclosed("a raw block", line);
    CRIA_TRY(add_text(end));
    const size_t end_length = keyword_block(at_, "endraw");
    const char end_sign = source_[at_ + end_length - 3];
    skip(end_length);
    trim_right(end_sign, true);
    return {};
  }

  Status add_token(std::string& open) {
    const char c = source_[at_];
    if (is_name_start(c)) {
      const size_t begin = at_;
      while (at_ < source_.size() && is_name(source_[at_])) ++at_;
      add(Token::Kind::kName, source_.substr(begin, at_ - begin));
      return {};
    }
    if (is_digit(c)) return add_number();
    if (c == '"' || c == '\'') return add_string(c);
    return add_operator(open);
  }

  Status add_number() {
    const size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && (is_digit(source_[at_]) || source_[at_] == '_')) ++at_;
    };
    digits();
    bool is_float = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
      is_float = true;
      ++at_;
      digits();
    }
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      const size_t sign = at_ + 1 < source_.size() && (source_[at_ + 1] == '-' || source_[at_ + 1] == '+') ? 1 : 0;
      if (at_ + 1 + sign < source_.size() && is_digit(source_[at_ + 1 + sign])) {
        is_float = true;
        at_ += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(begin, at_ - begin);
    std::erase(text, '_');
    add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(text));
    return {};
  }

  Status add_string(char quote) {
    const uint32_t line = line_;
    skip(1);
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] != '\\') {
        text += source_[at_];
        skip(1);
        continue;
      }
      skip(1);
      if (at_ < source_.size()) CRIA_TRY(add_escape(text));
    }
    if (at_ >= source_.size()) return unclosed("a string", line);
    skip(1);
    add(Token::Kind::kString, std::move(text));
    return {};
  }

  /// What stands behind a backslash, by Python's rules: an unknown one stays with its backslash.
  Status add_escape(std::string& text) {
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[at_];
    const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (length > 0) return add_code_point(text, at_ + 1, length, 16);
    if (c >= '0' && c <= '7') {
      size_t digits = 1;
      while (digits < 3 && at_ + digits < source_.size() && source_[at_ + digits] >= '0' &&
             source_[at_ + digits] <= '7')
        ++digits;
      return add_code_point(text, at_, digits, 8);
    }
    if (c == 'N')
      return fail(ErrorCode::kUnsupported, "line {}: names of characters (\"\\N\") are not supported", line_);
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      text += kValues[known];
    } else if (c != '\n') {
      text += '\\';
      text += c;
    }
    skip(1);
    return {};
  }

  Status add_code_point(std::string& text, size_t begin, size_t length, int base) {
    uint32_t value = 0;
    const size_t end = std::min(begin + length, source_.size());
    const auto read = std::from_chars(source_.data() + begin, source_.data() + end, value, base);
    const bool whole = read.ec == std::errc() && read.ptr == source_.data() + begin + length;
    if (!whole || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      return fail(ErrorCode::kInvalidInput, "line {}: a string holds an escape that is no character", line_);
    }
    append_utf8(text, value);
    skip(begin + length - at_);
    return {};
  }

  Status add_operator(std::string& open) {
    static constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*",
                                                      "/",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto* const found = std::ranges::find_if(kOperators, [&](std::string_view text) { return has(text); });
    if (found == std::end(kOperators)) {
      return fail(ErrorCode::kInvalidInput, "line {}: the character {} begins nothing that Jinja knows", line_,
                  python_quoted(std::string_view(source_).substr(at_, decode_utf8(source_, at_).bytes)));
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != wanted) {
        return fail(ErrorCode::kInvalidInput, "line {}: a \"{}\" closes nothing", line_, c);
      }
      open.pop_back();
    }
    add(Token::Kind::kOperator, std::string(*found));
    skip(found->size());
    return {};
  }

  std::string source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(normalise(source)).run(); }

}  // namespace cria::text::jinja
