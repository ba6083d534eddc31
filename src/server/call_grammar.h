// The grammar of an answer that may, or must, call tools.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "grammar/grammar.h"
#include "server/tools.h"
#include "text/tokenizer.h"
#include "text/tool_template.h"

namespace cria::server {

/// The markers of a form that are special tokens of the model's: they have no text, and are named by their numbers.
using SpecialMarkers = std::map<std::string, uint32_t, std::less<>>;
[[nodiscard]] SpecialMarkers special_markers(text::CallForm form, const text::Tokenizer& tokenizer);

/// Answers are one or several calls, whose arguments fit the tools' schemas; or, where the choice is the model's, text
/// that is free up to the marker of a call, and calls behind it. Refusals: a schema that is not supported.
Checked<std::shared_ptr<const grammar::Grammar>> call_grammar(const ToolUse& use, text::CallForm form,
                                                              const SpecialMarkers& special);

}  // namespace cria::server
