// Strings as Python has them, on valid UTF-8: lengths and positions count code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cria::text::jinja {

/// How many code points a text has.
[[nodiscard]] size_t code_points(std::string_view text);

/// The bytes at which the code points begin, and the text's size at the end.
[[nodiscard]] std::vector<size_t> code_point_offsets(std::string_view text);

enum class Side : uint8_t { kBoth, kLeft, kRight };
/// Without the characters of `characters` at its ends; empty: white space, by Python's definition.
[[nodiscard]] std::string_view strip(std::string_view text, std::string_view characters, Side side);

/// Cut at white space, without empty parts.
[[nodiscard]] std::vector<std::string> split_words(std::string_view text, int64_t limit);
/// Cut at each `separator`, which is not empty; at most `limit` times where that is not negative.
[[nodiscard]] std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t limit);
[[nodiscard]] std::vector<std::string> split_lines(std::string_view text, bool keep_ends);

/// Replaces up to `limit` times (negative: all).
[[nodiscard]] std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit);

/// An upper bound of the bytes that `replace` gives.
[[nodiscard]] size_t replaced_size(std::string_view text, std::string_view from, std::string_view to);

/// kTitle begins a word behind whatever is no letter, kWords behind white space and -({[<.
enum class Case : uint8_t { kUpper, kLower, kTitle, kWords, kCapital };
/// Simple case mapping, but that ß in capitals is SS.
[[nodiscard]] std::string with_case(std::string_view text, Case wanted);

/// repr() of a string: in the quotes that need no escapes.
[[nodiscard]] std::string python_quoted(std::string_view text);
/// A JSON string; characters beyond ASCII stay.
[[nodiscard]] std::string json_quoted(std::string_view text);
/// repr() of a float.
[[nodiscard]] std::string float_text(double value);

/// &, <, >, " and ' as HTML wants them.
[[nodiscard]] std::string html_escaped(std::string_view text);

}  // namespace cria::text::jinja
