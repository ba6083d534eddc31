// What answers must fit: "response_format" and "grammar" of a request.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "grammar/grammar.h"
#include "server/reply.h"

namespace cria::server {

/// The grammar that a request's answers follow, or nothing. `format` is "response_format", or nullptr; a schema in it
/// is read from `body` once more, in the order of its properties. Grammars that were asked for before are kept, so that
/// their masks are too. From any thread.
Checked<std::shared_ptr<const grammar::Grammar>> read_structure(const std::string& body, const Json* format,
                                                                const std::optional<std::string>& grammar);

}  // namespace cria::server
