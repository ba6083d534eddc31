// Rules that the grammars of all JSON Schemas share: JSON's values, and formats of strings.
#pragma once

#include <string>
#include <string_view>

namespace cria::grammar {

/// Those that the rules of a grammar use and do not have, and what these use.
[[nodiscard]] std::string shared_rules(std::string_view rules);

/// Whether there is a rule "format-NAME" for a string's "format".
[[nodiscard]] bool has_format(std::string_view name);

}  // namespace cria::grammar
