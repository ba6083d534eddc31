// Sets of Unicode characters, and how UTF-8 spells them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::grammar {

inline constexpr uint32_t kLastCharacter = 0x10FFFF;
inline constexpr uint32_t kFirstSurrogate = 0xD800;
inline constexpr uint32_t kLastSurrogate = 0xDFFF;

/// The characters from `first` to `last`, both included.
struct CharacterRange {
  uint32_t first = 0;
  uint32_t last = 0;
  friend bool operator==(const CharacterRange&, const CharacterRange&) = default;
};

/// Sorted ranges with gaps between them; surrogates are no characters, and in no range.
using CharacterSet = std::vector<CharacterRange>;

/// Any ranges as a set.
[[nodiscard]] CharacterSet normalized(CharacterSet ranges);
/// All characters but those of a set.
[[nodiscard]] CharacterSet complement(const CharacterSet& set);

/// A character, and how many bytes it took; nothing where the bytes at text[at] are not UTF-8.
struct Character {
  uint32_t value = 0;
  uint32_t bytes = 1;
};
[[nodiscard]] std::optional<Character> character_at(std::string_view text, size_t at);
void append_character(std::string& text, uint32_t value);

/// Bytes from `first` to `last`, both included.
struct ByteRange {
  uint8_t first = 0;
  uint8_t last = 0;
};

/// The characters whose UTF-8 takes one byte of each range, one after the other.
struct ByteSequence {
  ByteRange bytes[4];
  uint32_t length = 0;
};

/// Sequences that together spell the characters of a range, and each of them once. The range must lie within those
/// that take the same number of bytes, or span several; surrogates must not be among them.
/// Source: Unicode 15, section 3.9, table 3-7.
void append_sequences(CharacterRange range, std::vector<ByteSequence>& sequences);

}  // namespace cria::grammar
