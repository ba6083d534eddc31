#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace cria::text {
namespace {

/// Length of the sequence that a lead byte begins, 0 where it begins none.
uint32_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// Whether a byte may stand second after this lead (no overlong forms, surrogates or values past U+10FFFF).
bool is_second(unsigned char lead, unsigned char byte) {
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return byte >= low && byte <= high;
}

/// Bytes of the longest valid begin of a sequence at text[at], and whether it is complete.
struct Prefix {
  uint32_t bytes;
  bool complete;
};
Prefix valid_prefix(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const uint32_t length = sequence_length(lead);
  if (length == 0) return {0, false};
  uint32_t bytes = 1;
  while (bytes < length && at + bytes < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at + bytes]);
    if (bytes == 1 ? !is_second(lead, byte) : (byte & 0xC0) != 0x80) break;
    ++bytes;
  }
  return {bytes, bytes == length};
}

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

/// Letters and numbers that Unicode 15.1 and 16 added, as first and last of each range: Hugging Face's
/// regular expressions know them, utf8proc before 2.10 does not.
constexpr std::pair<char32_t, char32_t> kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}};
constexpr std::pair<char32_t, char32_t> kNewNumbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                                         {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9},
                                                         {0x1E5F1, 0x1E5FA}};

/// Whether one of the ranges, which are in ascending order, holds a code point.
bool in_ranges(std::span<const std::pair<char32_t, char32_t>> ranges, char32_t code_point) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code_point,
                                      [](char32_t value, const auto& range) { return value < range.first; });
  return after != ranges.begin() && code_point <= std::prev(after)->second;
}

}  // namespace

CodePoint decode_utf8(std::string_view text, size_t at) {
  const Prefix prefix = valid_prefix(text, at);
  if (!prefix.complete) return {};
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  switch (prefix.bytes) {
    case 1: return {byte(0), 1};
    case 2: return {(byte(0) & 0x1F) << 6 | (byte(1) & 0x3F), 2};
    case 3: return {(byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
    default: return {(byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
  }
}

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Prefix prefix = valid_prefix(text, at);
    if (!prefix.complete) return at;
    at += prefix.bytes;
  }
  return std::nullopt;
}

size_t incomplete_utf8_tail(std::string_view text) {
  const size_t longest = std::min<size_t>(3, text.size());
  for (size_t back = 1; back <= longest; ++back) {
    const size_t at = text.size() - back;
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    const Prefix prefix = valid_prefix(text, at);
    return !prefix.complete && prefix.bytes == back ? back : 0;
  }
  return 0;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Prefix prefix = valid_prefix(text, at);
    if (prefix.complete) {
      out += text.substr(at, prefix.bytes);
    } else {
      append_utf8(out, 0xFFFD);
    }
    at += std::max(prefix.bytes, 1U);
  }
  return out;
}

bool is_letter(char32_t code_point) {
  if (code_point < 0x80) return (code_point >= 'a' && code_point <= 'z') || (code_point >= 'A' && code_point <= 'Z');
  const utf8proc_category_t found = category(code_point);
  if (found == UTF8PROC_CATEGORY_CN) return in_ranges(kNewLetters, code_point);
  return found >= UTF8PROC_CATEGORY_LU && found <= UTF8PROC_CATEGORY_LO;
}

bool is_number(char32_t code_point) {
  if (code_point < 0x80) return code_point >= '0' && code_point <= '9';
  const utf8proc_category_t found = category(code_point);
  if (found == UTF8PROC_CATEGORY_CN) return in_ranges(kNewNumbers, code_point);
  return found >= UTF8PROC_CATEGORY_ND && found <= UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t code_point) {
  const utf8proc_category_t found = category(code_point);
  return found >= UTF8PROC_CATEGORY_PC && found <= UTF8PROC_CATEGORY_PO;
}

Casing casing(char32_t code_point) {
  switch (category(code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return Casing::kCapital;
    case UTF8PROC_CATEGORY_LL: return Casing::kSmall;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return Casing::kEither;
    default: return is_letter(code_point) ? Casing::kEither : Casing::kNeither;  // letters newer than utf8proc
  }
}

bool is_word_character(char32_t code_point) {
  // utf8proc does not know the property Alphabetic: what it has beyond the categories are circled letters.
  static constexpr std::pair<char32_t, char32_t> kCircled[] = {
      {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
  switch (category(code_point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
  }
  const bool is_joiner = code_point == 0x200C || code_point == 0x200D;
  return is_letter(code_point) || is_joiner || in_ranges(kCircled, code_point);
}

bool is_white_space(char32_t code_point) {
  return (code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x20 || code_point == 0x85 || code_point == 0xA0 ||
         code_point == 0x1680 || (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x2028 ||
         code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F || code_point == 0x3000;
}

std::string to_nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    return std::string(text);
  }
  // utf8proc's own reordering of marks takes quadratic time on hostile runs; ours sorts each run.
  std::vector<utf8proc_int32_t> decomposed;
  decomposed.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    at += point.bytes;
    utf8proc_int32_t buffer[32];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point.value), buffer, std::size(buffer),
                                               UTF8PROC_COMPOSE, &boundary);
    decomposed.insert(decomposed.end(), buffer, buffer + std::max<utf8proc_ssize_t>(count, 0));
  }
  const auto combining_class = [](utf8proc_int32_t point) { return utf8proc_get_property(point)->combining_class; };
  for (auto begin = decomposed.begin(); begin != decomposed.end();) {
    if (combining_class(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, decomposed.end(), [&](auto point) { return combining_class(point) == 0; });
    std::stable_sort(begin, end, [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
  const auto composed = utf8proc_normalize_utf32(decomposed.data(), static_cast<utf8proc_ssize_t>(decomposed.size()),
                                                 static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < composed; ++i)
    append_utf8(out, static_cast<char32_t>(decomposed[static_cast<size_t>(i)]));
  return out;
}

}  // namespace cria::text
