// A grammar as it is written: rules in llama.cpp's dialect of EBNF (GBNF), read into a tree. docs/grammar.md has the
// dialect.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/characters.h"

namespace cria::grammar {

/// A repetition without a highest count.
inline constexpr uint32_t kUnbounded = UINT32_MAX;

/// A part of a rule. Parts lie in one list, and name each other by their index there.
struct Part {
  enum class Kind : uint8_t {
    kText,          ///< these bytes, perhaps none
    kSet,           ///< one of these characters
    kRule,          ///< what a rule accepts
    kSequence,      ///< all of the parts, one after the other
    kAlternatives,  ///< one of the parts
    kRepetition,    ///< the one part, from `least` to `most` times
  };
  Kind kind = Kind::kText;
  uint32_t rule = 0;
  uint32_t least = 0;
  uint32_t most = 0;
  std::string text;
  CharacterSet set;
  std::vector<uint32_t> parts;
};

/// What a rule is called, where it stands, and the part that it stands for.
struct Rule {
  std::string name;
  uint32_t line = 0;
  uint32_t part = 0;
  bool is_defined = false;
};

struct Syntax {
  std::vector<Part> parts;
  std::vector<Rule> rules;
  uint32_t root = 0;  ///< the rule "root"
};

struct SyntaxLimits {
  size_t bytes = size_t{1} << 20U;  ///< of the text
  uint32_t rules = 20'000;
  uint32_t parts = 200'000;
  uint32_t depth = 100;           ///< of groups in groups
  uint32_t repetitions = 10'000;  ///< the largest count in { }
};

/// Errors (kInvalidInput) name line, column and what is wrong: text that is not in the dialect, names that are not
/// defined or defined twice, sizes above the limits. `name` begins every message.
Result<Syntax> parse_syntax(std::string_view text, std::string_view name, const SyntaxLimits& limits = {});

}  // namespace cria::grammar
