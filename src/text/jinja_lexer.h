// Cuts a template into text, and the tokens of its tags, with the white space that tags take away.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace cria::text::jinja {

struct Token {
  enum class Kind : uint8_t {
    kText,        ///< between tags
    kPrintBegin,  ///< {{
    kPrintEnd,    ///< }}
    kBlockBegin,  ///< {%
    kBlockEnd,    ///< %}
    kName,
    kString,  ///< unescaped
    kInteger,
    kFloat,
    kOperator,
    kEnd  ///< of the template
  };
  Kind kind = Kind::kEnd;
  std::string text;
  uint32_t line = 1;
};

/// With trim_blocks and lstrip_blocks, as transformers sets them: a line break behind a block goes, and blanks between
/// the begin of a line and a block. Comments are left out. The last token is kEnd.
/// Errors (kInvalidInput): a tag or string without an end, a character that begins no token; with the line.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace cria::text::jinja
