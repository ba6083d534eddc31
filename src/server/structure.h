// What answers must fit: "response_format" and "grammar" of a request.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "grammar/grammar.h"
#include "server/reply.h"

namespace cria::server {

/// A grammar by what it was made of: kept from an earlier request, or made. Refusals: what making it fails with, naming
/// the parameter. From any thread.
Checked<std::shared_ptr<const grammar::Grammar>> known_grammar(const std::string& parameter, const std::string& source,
                                                               const std::function<Result<grammar::Grammar>()>& make);

/// The grammar that a request's answers follow, or nothing. `format` is "response_format", or nullptr; a schema in it
/// is read from `body` once more, in the order of its properties. Grammars that were asked for before are kept, so that
/// their masks are too. From any thread.
Checked<std::shared_ptr<const grammar::Grammar>> read_structure(const std::string& body, const Json* format,
                                                                const std::optional<std::string>& grammar);

}  // namespace cria::server
