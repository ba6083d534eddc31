// Tools of a request: what answers may call. "tools", "tool_choice" and "parallel_tool_calls" of OpenAI's API.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/reply.h"

namespace cria::server {

struct Tool {
  std::string name;
  OrderedJson parameters;  ///< the schema of its arguments, in the order of its properties
};

enum class ToolChoice : uint8_t { kNone, kAuto, kRequired };

struct ToolUse {
  ToolChoice choice = ToolChoice::kNone;  ///< kNone: there are no tools, or none may be called
  std::string function;                   ///< with kRequired: the one that must be called, or empty
  bool is_parallel = true;                ///< several calls may be made at once
  OrderedJson definitions;                ///< the list as it was given
  std::vector<Tool> tools;
};

/// Reads these parameters, nullptr or nothing where they are not there. Schemas are read from `body` once more, in the
/// order of their properties.
Checked<ToolUse> read_tools(const std::string& body, const Json* tools, const Json* choice, bool is_parallel);

}  // namespace cria::server
