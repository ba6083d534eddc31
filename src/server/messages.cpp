#include "server/messages.h"

#include <map>
#include <set>

#include "base/json_fields.h"

namespace cria::server {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxCalls = 128;  // of one message

using Calls = std::map<std::string, std::string>;  ///< names of functions by the ids of their calls

/// A string that is not empty.
const std::string* text_in(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  const bool is_text = object.is_object() && found != object.end() && found->is_string() &&
                       !found->get_ref<const std::string&>().empty();
  return is_text ? &found->get_ref<const std::string&>() : nullptr;
}

/// The text of a message: a string, or a list of parts of type "text".
Checked<std::string> content_of(const Json& message, const std::string& where) {
  const auto content = message.find("content");
  if (content == message.end()) return refuse(where + ".content", fmt::format("\"{}\" has no \"content\"", where));
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  if (!content->is_array() || content->empty()) {
    return refuse(where + ".content",
                  fmt::format("\"{}.content\" is {}: it must be a string, or a list of texts", where, shown(*content)));
  }
  for (const Json& part : *content) {
    const auto type = part.is_object() ? part.find("type") : part.end();
    const auto words = part.is_object() ? part.find("text") : part.end();
    const bool is_text = part.is_object() && part.size() == 2 && type != part.end() && *type == "text" &&
                         words != part.end() && words->is_string();
    if (!is_text) {
      return refuse(where + ".content",
                    fmt::format("\"{}.content\" holds {}: only parts {{\"type\": \"text\", \"text\": …}} are supported",
                                where, shown(part)));
    }
    text += words->get_ref<const std::string&>();
  }
  return text;
}

/// The name of a known role.
Checked<std::string> role_of(const Json& message, const std::string& where) {
  const auto role = message.find("role");
  if (role == message.end()) return refuse(where + ".role", fmt::format("\"{}\" has no \"role\"", where));
  static const std::set<std::string, std::less<>> kRoles = {"system", "developer", "user", "assistant", "tool"};
  const auto* const name = role->get_ptr<const std::string*>();
  if (name == nullptr || !kRoles.contains(*name)) {
    return refuse(where + ".role",
                  fmt::format("\"{}.role\" is {}: system, developer, user, assistant and tool are supported", where,
                              shown(*role)));
  }
  return *name == "developer" ? "system" : *name;  // OpenAI's newer word for it
}

/// {"id": …, "type": "function", "function": {"name": …, "arguments": "{…}"}}
Checked<text::ToolCall> call_of(const Json& json, const std::string& where) {
  const std::string* const id = text_in(json, "id");
  const auto function = json.is_object() ? json.find("function") : json.end();
  const bool has_function = json.is_object() && function != json.end() && function->is_object();
  const std::string* const name = has_function ? text_in(*function, "name") : nullptr;
  const auto arguments = has_function ? function->find("arguments") : json.end();
  const bool has_arguments = has_function && arguments != function->end() && arguments->is_string();
  // OpenAI's clients send back what their helpers have parsed.
  const size_t parsed_too = has_function && function->contains("parsed_arguments") ? 1 : 0;
  if (id == nullptr || name == nullptr || !has_arguments || json.size() != 3 || function->size() != 2 + parsed_too ||
      json.value("type", Json()) != "function") {
    return refuse(where, fmt::format("\"{}\" is {}: it must be {{\"id\": …, \"type\": \"function\", \"function\": "
                                     "{{\"name\": …, \"arguments\": \"{{…}}\"}}}}",
                                     where, shown(json)));
  }
  const auto& text = arguments->get_ref<const std::string&>();
  auto parsed = parse_ordered_json(text.empty() ? "{}" : text, where + ".function.arguments");
  if (!parsed) return refuse(where, parsed.error().message());
  if (!parsed->is_object()) {
    return refuse(where, fmt::format("\"{}.function.arguments\" is {}: it must be the text of a JSON object", where,
                                     shown(*arguments)));
  }
  return text::ToolCall{.id = *id, .name = *name, .arguments = *std::move(parsed)};
}

Checked<bool> read_calls(const Json& list, const std::string& where, text::ChatMessage& message, Calls& calls) {
  CRIA_TRY(check_list(list, where + ".tool_calls", "calls", 0, kMaxCalls));
  for (size_t i = 0; i < list.size(); ++i) {
    CRIA_TRY_ASSIGN(text::ToolCall call, call_of(list[i], fmt::format("{}.tool_calls[{}]", where, i)));
    calls[call.id] = call.name;
    message.calls.push_back(std::move(call));
  }
  return true;
}

Checked<bool> read_result(const Json& json, const std::string& where, text::ChatMessage& message, const Calls& calls) {
  const std::string* const id = text_in(json, "tool_call_id");
  if (id == nullptr) {
    return refuse(where + ".tool_call_id",
                  fmt::format("\"{}\" is the result of a tool and has no \"tool_call_id\"", where));
  }
  const auto call = calls.find(*id);
  if (call == calls.end()) {
    return refuse(where + ".tool_call_id", fmt::format("\"{}.tool_call_id\" is {}: no message before it made that call",
                                                       where, shown(Json(*id))));
  }
  message.call_id = *id;
  message.name = call->second;
  return true;
}

Checked<text::ChatMessage> message_of(const Json& json, const std::string& where, Calls& calls) {
  if (!json.is_object()) return refuse(where, fmt::format("\"{}\" is {}: it must be an object", where, shown(json)));
  CRIA_TRY_ASSIGN(const std::string role, role_of(json, where));
  const bool is_assistant = role == "assistant";
  const bool is_result = role == "tool";
  for (const auto& [key, value] : json.items()) {
    const bool is_known = key == "role" || key == "content" ||
                          (is_assistant && (key == "tool_calls" || key == "parsed")) ||
                          (is_result && (key == "tool_call_id" || key == "name"));
    if (is_known || value.is_null()) continue;
    return refuse(where, fmt::format("\"{}\" has the field \"{}\", which is not supported{}", where, key.substr(0, 60),
                                     key == "tool_calls" || key == "tool_call_id" ? " for its role" : ""));
  }
  text::ChatMessage message = {role, ""};
  const Json* const list = is_assistant && json.contains("tool_calls") ? &json.at("tool_calls") : nullptr;
  if (list != nullptr && !list->is_null()) CRIA_TRY(read_calls(*list, where, message, calls));
  if (is_result) CRIA_TRY(read_result(json, where, message, calls));
  const bool has_content = json.contains("content") && !json.at("content").is_null();
  if (has_content || message.calls.empty()) {
    CRIA_TRY_ASSIGN(message.content, content_of(json, where));
  }
  return message;
}

}  // namespace

Checked<std::vector<text::ChatMessage>> read_messages(const Json* list) {
  if (list == nullptr) return refuse("messages", "\"messages\" is missing");
  CRIA_TRY(check_list(*list, "messages", "messages", 1, kMaxMessages));
  std::vector<text::ChatMessage> messages;
  Calls calls;
  for (size_t i = 0; i < list->size(); ++i) {
    CRIA_TRY_ASSIGN(text::ChatMessage message, message_of((*list)[i], fmt::format("messages[{}]", i), calls));
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace cria::server
