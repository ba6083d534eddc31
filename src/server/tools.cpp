#include "server/tools.h"

#include <algorithm>
#include <set>

#include "base/json_fields.h"

namespace cria::server {
namespace {

constexpr size_t kMaxTools = 128;
constexpr size_t kMaxName = 64;

bool is_name(const Json& value) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (!value.is_string()) return false;
  const auto& name = value.get_ref<const std::string&>();
  return !name.empty() && name.size() <= kMaxName && std::ranges::all_of(name, fits);
}

/// {"type": "function", "function": {…}} of a list's entry or a choice.
Checked<const Json*> function_of(const Json& value, const std::string& parameter, const std::string& where) {
  const auto type = value.is_object() ? value.find("type") : value.end();
  const auto function = value.is_object() ? value.find("function") : value.end();
  const bool is_function = value.is_object() && value.size() == 2 && type != value.end() && *type == "function" &&
                           function != value.end() && function->is_object();
  if (is_function) return &*function;
  return refuse(parameter,
                fmt::format("\"{}\" is {}: it must be {{\"type\": \"function\", \"function\": {{\"name\": …}}}}", where,
                            shown(value)));
}

Checked<bool> check_function(const Json& function, const std::string& where) {
  for (const auto& [key, value] : function.items()) {
    const bool fits = key == "name" || value.is_null() || (key == "description" && value.is_string()) ||
                      (key == "strict" && value.is_boolean()) || (key == "parameters" && value.is_object());
    if (fits) continue;
    return refuse("tools", fmt::format("\"{}.function\" has \"{}\": {}: \"name\", \"description\", \"parameters\" (a "
                                       "schema of an object) and \"strict\" are known",
                                       where, key.substr(0, 60), shown(value)));
  }
  const auto name = function.find("name");
  if (name == function.end()) return refuse("tools", fmt::format("\"{}.function\" has no \"name\"", where));
  if (is_name(*name)) return true;
  return refuse("tools", fmt::format("\"{}.function.name\" is {}: it must be 1 to {} of a-z, A-Z, 0-9, _ and -", where,
                                     shown(*name), kMaxName));
}

/// A schema whose values are objects, as arguments are.
Checked<OrderedJson> parameters_of(const OrderedJson& function, const std::string& where) {
  const auto found = function.find("parameters");
  if (found == function.end() || found->is_null()) {
    return OrderedJson{{"type", "object"}, {"properties", OrderedJson::object()}, {"additionalProperties", false}};
  }
  OrderedJson schema = *found;
  const auto type = schema.find("type");
  if (type == schema.end()) {
    schema["type"] = "object";
  } else if (*type != "object") {
    return refuse("tools", fmt::format("\"{}.function.parameters\" has the \"type\" {}: arguments are an object", where,
                                       shown(Json::parse(type->dump()))));
  }
  return schema;
}

Checked<bool> read_list(const std::string& body, const Json& list, ToolUse& use) {
  CRIA_TRY(check_list(list, "tools", "tools", 0, kMaxTools));
  std::set<std::string> names;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("tools[{}]", i);
    CRIA_TRY_ASSIGN(const Json* const function, function_of(list[i], "tools", where));
    CRIA_TRY(check_function(*function, where));
    const auto name = function->at("name").get<std::string>();
    if (!names.insert(name).second) return refuse("tools", fmt::format("\"tools\" holds \"{}\" twice", name));
  }
  const auto ordered = parse_ordered_json(body, "\"tools\"");
  if (!ordered) return refuse("tools", ordered.error().message());
  use.definitions = ordered->at("tools");
  for (size_t i = 0; i < list.size(); ++i) {
    const OrderedJson& function = use.definitions[i].at("function");
    CRIA_TRY_ASSIGN(OrderedJson parameters, parameters_of(function, fmt::format("tools[{}]", i)));
    use.tools.push_back({.name = function.at("name").get<std::string>(), .parameters = std::move(parameters)});
  }
  return true;
}

Checked<bool> read_choice(const Json& choice, ToolUse& use) {
  const bool has_tools = !use.tools.empty();
  if (choice == "none" || choice == "auto") {
    use.choice = choice == "auto" && has_tools ? ToolChoice::kAuto : ToolChoice::kNone;
    return true;
  }
  if (choice.is_string() && choice != "required") {
    return refuse("tool_choice", fmt::format("\"tool_choice\" is {}: \"none\", \"auto\", \"required\" and {{\"type\": "
                                             "\"function\", \"function\": {{\"name\": …}}}} are supported",
                                             shown(choice)));
  }
  if (!choice.is_string()) {
    CRIA_TRY_ASSIGN(const Json* const function, function_of(choice, "tool_choice", "tool_choice"));
    const auto name = function->find("name");
    if (name == function->end() || function->size() != 1 || !name->is_string()) {
      return refuse("tool_choice",
                    fmt::format("\"tool_choice.function\" is {}: it must be {{\"name\": …}}", shown(*function)));
    }
    use.function = name->get<std::string>();
    if (has_tools && std::ranges::find(use.tools, use.function, &Tool::name) == use.tools.end()) {
      return refuse("tool_choice", fmt::format("\"tool_choice\" names {}, which is not among \"tools\"", shown(*name)));
    }
  }
  if (!has_tools) return refuse("tool_choice", "\"tool_choice\" demands a call, and there are no \"tools\"");
  use.choice = ToolChoice::kRequired;
  return true;
}

}  // namespace

Checked<ToolUse> read_tools(const std::string& body, const Json* tools, const Json* choice, bool is_parallel) {
  ToolUse use;
  use.is_parallel = is_parallel;
  if (tools != nullptr) CRIA_TRY(read_list(body, *tools, use));
  CRIA_TRY(read_choice(choice != nullptr ? *choice : Json("auto"), use));
  return use;
}

}  // namespace cria::server
