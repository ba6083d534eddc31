// "messages" of a chat's request.
#pragma once

#include <vector>

#include "base/json.h"
#include "server/reply.h"
#include "text/chat_template.h"

namespace cria::server {

/// Reads the list, nullptr where there is none. Results of tools must name a call of an assistant's message before
/// them.
Checked<std::vector<text::ChatMessage>> read_messages(const Json* list);

}  // namespace cria::server
