// JSON Schema to a grammar of the JSON texts that fit it. docs/grammar.md has the table of keywords.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "grammar/grammar.h"

namespace cria::grammar {

/// A grammar in the dialect of docs/grammar.md, all of whose texts fit the schema; the other way round, of what fits
/// some is left out (other orders of properties, longer numbers, …). `name` begins messages.
/// Errors: kUnsupported for a keyword that is not implemented, by name and with its path; kInvalidInput for a schema
/// that is malformed, that nothing fits, or that is too large.
Result<std::string> schema_rules(const OrderedJson& schema, std::string_view name);

/// Of the text of such a grammar: a schema's rules may have half of it.
inline constexpr SyntaxLimits kSchemaLimits{.bytes = size_t{2} << 20U};

/// The same as a part of a larger grammar, whose rule `rule` accepts the value; the names of the others begin with it
/// too. Without the rules that schemas share: shared_rules() has them.
Result<std::string> schema_part(const OrderedJson& schema, std::string_view name, const std::string& rule);

/// The same, ready for use.
Result<Grammar> schema_grammar(const OrderedJson& schema, std::string_view name);

/// Any JSON object.
Result<Grammar> object_grammar();

}  // namespace cria::grammar
