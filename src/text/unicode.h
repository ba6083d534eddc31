// UTF-8 and the Unicode properties that tokenizers ask about.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cria::text {

/// A code point and how many bytes it took; code point kInvalid (1 byte) where the bytes are not UTF-8.
struct CodePoint {
  static constexpr char32_t kInvalid = 0xFFFFFFFF;
  char32_t value = kInvalid;
  uint32_t bytes = 1;
};

/// Decodes the code point at text[at]; `at` must be below text.size().
[[nodiscard]] CodePoint decode_utf8(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t code_point);

/// The offset of the first byte that is not valid UTF-8, or nothing.
[[nodiscard]] std::optional<size_t> find_invalid_utf8(std::string_view text);

/// Bytes at the end of `text` that begin a character and may still be completed; 0 to 3.
[[nodiscard]] size_t incomplete_utf8_tail(std::string_view text);

/// Replaces every maximal invalid piece with U+FFFD (Unicode 15, section 3.9, "substitution of maximal
/// subparts").
[[nodiscard]] std::string to_valid_utf8(std::string_view text);

[[nodiscard]] bool is_letter(char32_t code_point);       ///< \p{L}
[[nodiscard]] bool is_number(char32_t code_point);       ///< \p{N}
[[nodiscard]] bool is_punctuation(char32_t code_point);  ///< \p{P}
[[nodiscard]] bool is_white_space(char32_t code_point);  ///< \s: the property White_Space

/// What a character may be in a word that is told by its case: a capital (Lu, Lt), a small letter (Ll), either (Lm, Lo,
/// M: letters without case, and marks), or neither.
enum class Casing : uint8_t { kNeither, kCapital, kSmall, kEither };
[[nodiscard]] Casing casing(char32_t code_point);

/// \w as regular expressions in Unicode have it (technical standard 18, annex C): letters, marks, decimal
/// and letter numbers, connectors, joiners.
[[nodiscard]] bool is_word_character(char32_t code_point);

/// Unicode normalisation form C of valid UTF-8. Linear but for the sorting of long runs of marks.
///
/// Follows the Unicode version of utf8proc. Hugging Face's tokenizers 0.23 normalise by Unicode 9: for the
/// 108 combining marks added since (U+07FD, U+0898 and on, …) they keep the order where two marks are out
/// of canonical order, and they do not compose U+11935 U+11930. All other code points agree, alone and in
/// random sequences.
[[nodiscard]] std::string to_nfc(std::string_view text);

}  // namespace cria::text
