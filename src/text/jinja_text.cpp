#include "text/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>

#include "text/unicode.h"

namespace cria::text::jinja {
namespace {

/// str.isspace(): White_Space and the separators of information.
bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

/// What repr() writes as it is.
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category != UTF8PROC_CATEGORY_CC && category != UTF8PROC_CATEGORY_CF && category != UTF8PROC_CATEGORY_CS &&
         category != UTF8PROC_CATEGORY_CO && category != UTF8PROC_CATEGORY_CN && category != UTF8PROC_CATEGORY_ZL &&
         category != UTF8PROC_CATEGORY_ZP && category != UTF8PROC_CATEGORY_ZS;
}

char32_t to_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t to_upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }

bool begins_word(char32_t before) { return is_space(before) || std::u32string_view(U"-({[<").contains(before); }

/// The begin of the code point that ends at byte `end`.
size_t previous(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) --at;
  return at;
}

}  // namespace

size_t code_points(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80; }));
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += decode_utf8(text, at).bytes) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

std::string_view strip(std::string_view text, std::string_view characters, Side side) {
  std::vector<char32_t> set;
  for (size_t at = 0; at < characters.size(); at += decode_utf8(characters, at).bytes) {
    set.push_back(decode_utf8(characters, at).value);
  }
  std::ranges::sort(set);
  const auto goes = [&](char32_t c) { return set.empty() ? is_space(c) : std::ranges::binary_search(set, c); };
  size_t begin = 0;
  size_t end = text.size();
  if (side != Side::kRight) {
    while (begin < end && goes(decode_utf8(text, begin).value)) begin += decode_utf8(text, begin).bytes;
  }
  if (side != Side::kLeft) {
    while (end > begin && goes(decode_utf8(text, previous(text, end)).value)) end = previous(text, end);
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string> split_words(std::string_view text, int64_t limit) {
  std::vector<std::string> words;
  for (text = strip(text, {}, Side::kLeft); !text.empty(); text = strip(text, {}, Side::kLeft)) {
    if (limit >= 0 && std::ssize(words) == limit) {
      words.emplace_back(strip(text, {}, Side::kRight));
      break;
    }
    size_t end = 0;
    while (end < text.size() && !is_space(decode_utf8(text, end).value)) end += decode_utf8(text, end).bytes;
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (limit < 0 || std::ssize(parts) < limit) {
    const size_t end = text.find(separator, begin);
    if (end == std::string_view::npos) break;
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
    size_t next = std::min(end + 1, text.size());
    if (end + 1 < text.size() && text[end] == '\r' && text[end + 1] == '\n') ++next;
    lines.emplace_back(text.substr(begin, (keep_ends ? next : end) - begin));
    begin = next;
  }
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  std::string result;
  size_t at = 0;
  for (int64_t done = 0; limit < 0 || done < limit; ++done) {
    if (from.empty()) {  // before every code point, and at the end
      result += to;
      if (at >= text.size()) return result;
      const size_t bytes = decode_utf8(text, at).bytes;
      result += text.substr(at, bytes);
      at += bytes;
      continue;
    }
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    result.append(text, at, found - at).append(to);
    at = found + from.size();
  }
  return result.append(text, at);
}

size_t replaced_size(std::string_view text, std::string_view from, std::string_view to) {
  if (from.empty()) return text.size() + (text.size() + 1) * to.size();
  size_t count = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, at + from.size())) ++count;
  return text.size() + count * to.size();
}

std::string with_case(std::string_view text, Case wanted) {
  std::string result;
  bool begins = true;  // a word, or the text
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    at += point.bytes;
    const bool up = wanted == Case::kUpper || (begins && wanted != Case::kLower);
    if (up && point.value == U'ß') {
      result += wanted == Case::kUpper ? "SS" : "Ss";
    } else {
      append_utf8(result, up ? to_upper(point.value) : to_lower(point.value));
    }
    begins = wanted == Case::kTitle ? !is_letter(point.value) : wanted == Case::kWords && begins_word(point.value);
  }
  return result;
}

std::string python_quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string result(1, quote);
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    const char32_t c = point.value;
    if (c == '\\' || c == static_cast<unsigned char>(quote)) {
      result += '\\';
      result += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      result += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      result.append(text, at, point.bytes);
    } else {
      const auto code = static_cast<uint32_t>(c);
      result += code < 0x100     ? fmt::format("\\x{:02x}", code)
                : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                 : fmt::format("\\U{:08x}", code);
    }
    at += point.bytes;
  }
  return result + quote;
}

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      case '\b': result += "\\b"; break;
      case '\f': result += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          result += c;
        }
    }
  }
  return result + '"';
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string html_escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&#34;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  }
  return result;
}

}  // namespace cria::text::jinja
