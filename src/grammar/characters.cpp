#include "grammar/characters.h"

#include <algorithm>

namespace cria::grammar {
namespace {

/// The largest character that takes so many bytes.
constexpr uint32_t kLastOfLength[] = {0, 0x7F, 0x7FF, 0xFFFF, kLastCharacter};

uint32_t length_of(uint32_t value) {
  uint32_t length = 1;
  while (value > kLastOfLength[length]) ++length;
  return length;
}

/// Ranges whose characters all take `length` bytes.
void append_of_length(CharacterRange range, uint32_t length, std::vector<ByteSequence>& sequences) {
  // Where first and last differ above the lowest `bits`, and not all of these are 0 in first and 1 in last, the range
  // is cut there: only then each byte's range is independent of the others.
  for (uint32_t bits = 6; bits < 6 * length; bits += 6) {
    const uint32_t mask = (1U << bits) - 1;
    if ((range.first & ~mask) == (range.last & ~mask)) break;
    if ((range.first & mask) != 0) {
      append_of_length({range.first, range.first | mask}, length, sequences);
      append_of_length({(range.first | mask) + 1, range.last}, length, sequences);
      return;
    }
    if ((range.last & mask) != mask) {
      append_of_length({range.first, (range.last & ~mask) - 1}, length, sequences);
      append_of_length({range.last & ~mask, range.last}, length, sequences);
      return;
    }
  }
  std::string first;
  std::string last;
  append_character(first, range.first);
  append_character(last, range.last);
  ByteSequence sequence{.bytes = {}, .length = length};
  for (uint32_t i = 0; i < length; ++i) {
    sequence.bytes[i] = {static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i])};
  }
  sequences.push_back(sequence);
}

}  // namespace

CharacterSet normalized(CharacterSet ranges) {
  CharacterSet cut;
  for (const CharacterRange& range : ranges) {
    if (range.first < kFirstSurrogate) cut.push_back({range.first, std::min(range.last, kFirstSurrogate - 1)});
    if (range.last > kLastSurrogate) cut.push_back({std::max(range.first, kLastSurrogate + 1), range.last});
  }
  std::ranges::sort(cut, {}, &CharacterRange::first);
  CharacterSet set;
  for (const CharacterRange& range : cut) {
    if (!set.empty() && range.first <= set.back().last + 1) {
      set.back().last = std::max(set.back().last, range.last);
    } else {
      set.push_back(range);
    }
  }
  return set;
}

CharacterSet complement(const CharacterSet& set) {
  CharacterSet rest;
  uint32_t next = 0;
  for (const CharacterRange& range : set) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCharacter) rest.push_back({next, kLastCharacter});
  return normalized(std::move(rest));
}

std::optional<Character> character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(at);
  if (lead < 0x80) return Character{.value = lead, .bytes = 1};
  const uint32_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return std::nullopt;
  uint32_t value = lead & (0x7FU >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80) return std::nullopt;
    value = value << 6U | (byte(at + i) & 0x3FU);
  }
  const bool is_surrogate = value >= kFirstSurrogate && value <= kLastSurrogate;
  if (value > kLastCharacter || is_surrogate || length_of(value) != length) return std::nullopt;
  return Character{.value = value, .bytes = length};
}

void append_character(std::string& text, uint32_t value) {
  const uint32_t length = length_of(value);
  if (length == 1) {
    text += static_cast<char>(value);
    return;
  }
  const uint32_t lead = 0xF00U >> length & 0xFFU;  // as many ones as there are bytes
  text += static_cast<char>(lead | value >> (6 * (length - 1)));
  for (uint32_t i = length - 1; i-- > 0;) text += static_cast<char>(0x80U | (value >> (6 * i) & 0x3FU));
}

void append_sequences(CharacterRange range, std::vector<ByteSequence>& sequences) {
  for (uint32_t length = 1; length <= 4; ++length) {
    const uint32_t lowest = length == 1 ? 0 : kLastOfLength[length - 1] + 1;
    const CharacterRange part{std::max(range.first, lowest), std::min(range.last, kLastOfLength[length])};
    if (part.first <= part.last) append_of_length(part, length, sequences);
  }
}

}  // namespace cria::grammar
