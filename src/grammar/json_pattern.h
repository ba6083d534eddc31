// Regular expressions of JSON Schema's "pattern" to rules of the strings of JSON that they match.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace cria::grammar {

/// An expression in the dialect of docs/grammar.md for what stands between a string's quotes. It uses the rule `char`
/// for any character. Supported of ECMAScript's regular expressions: characters, `.`, classes, \d \w \s and their
/// opposites, escapes, groups, alternatives, repetitions, and ^ and $ at the ends of the whole; as there, an end
/// without ^ or $ may be anywhere. Errors: kUnsupported for what else there is, by name; kInvalidInput.
Result<std::string> pattern_rules(std::string_view pattern);

}  // namespace cria::grammar
