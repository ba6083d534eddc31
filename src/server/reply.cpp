#include "server/reply.h"

#include <algorithm>

#include "base/json_fields.h"

namespace cria::server {
namespace {

constexpr int kInternal = 500;
constexpr int kUnavailable = 503;

std::string event(const Json& json) { return "data: " + dumped(json) + "\n\n"; }

/// A streamed part.
std::string part(const ReplyHead& head, Json choices, Json usage) {
  Json json = {{"id", head.id},
               {"object", head.is_chat ? "chat.completion.chunk" : "text_completion"},
               {"created", head.created},
               {"model", head.model},
               {"choices", std::move(choices)}};
  if (head.has_usage) json["usage"] = std::move(usage);
  return event(json);
}

/// A streamed part with one choice.
std::string part(const ReplyHead& head, Json choice) { return part(head, Json::array({std::move(choice)}), nullptr); }

}  // namespace

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Refusal::type() const {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 429) return "rate_limit_error";
  return status >= kInternal ? "server_error" : "invalid_request_error";
}

std::string Refusal::body() const {
  return dumped({{"error",
                  {{"message", message},
                   {"type", type()},
                   {"param", parameter.empty() ? Json() : Json(parameter)},
                   {"code", code.empty() ? Json() : Json(code)}}}});
}

Refusal refusal_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidInput:
    case ErrorCode::kUnsupported: return {.status = 400, .message = error.message()};
    case ErrorCode::kOutOfMemory: return {.status = kUnavailable, .message = error.message(), .code = "out_of_memory"};
    case ErrorCode::kDevice: return {.status = kUnavailable, .message = error.message(), .code = "device_failed"};
    default: return {.status = kInternal, .message = error.message()};
  }
}

std::unexpected<Refusal> refuse(std::string parameter, std::string message) {
  return std::unexpected(Refusal{
      .status = 400, .message = std::move(message), .parameter = std::move(parameter), .code = "invalid_value"});
}

Checked<bool> check_list(const Json& list, const std::string& parameter, std::string_view what, size_t least,
                         size_t most) {
  if (!list.is_array() || list.size() < least) {
    return refuse(parameter, fmt::format("\"{}\" is {}: it must be a list of {} to {} {}", parameter, shown(list),
                                         least, most, what));
  }
  if (list.size() <= most) return true;
  return refuse(parameter, fmt::format("\"{}\" holds {} {}, more than {}", parameter, list.size(), what, most));
}

Refusal shutting_down() {
  return {.status = kUnavailable, .message = "the server is shutting down", .code = "shutting_down"};
}

std::string_view finish_reason(engine::StopReason reason, bool has_calls) {
  const bool is_whole = reason == engine::StopReason::kEndOfText || reason == engine::StopReason::kStopText;
  if (!is_whole) return "length";
  return has_calls ? "tool_calls" : "stop";
}

Json usage_json(const Usage& usage) {
  return {
      {"prompt_tokens", usage.prompt_tokens},
      {"completion_tokens", usage.generated_tokens},
      {"total_tokens", usage.prompt_tokens + usage.generated_tokens},
      {"prompt_tokens_details", {{"cached_tokens", usage.kept_tokens}}},
      {"completion_tokens_details",
       {{"accepted_prediction_tokens", usage.accepted_tokens}, {"rejected_prediction_tokens", usage.rejected_tokens}}}};
}

namespace {

/// A character begins at every byte that does not go on with one.
size_t characters_of(std::string_view bytes) {
  return static_cast<size_t>(
      std::ranges::count_if(bytes, [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0U) != 0x80U; }));
}

Json token_json(const std::string& bytes, float logprob) {
  return {{"token", bytes}, {"logprob", logprob}, {"bytes", std::vector<uint8_t>(bytes.begin(), bytes.end())}};
}

Json chat_logprobs(const std::vector<TokenReport>& tokens) {
  Json content = Json::array();
  for (const TokenReport& token : tokens) {
    Json entry = token_json(token.bytes, token.logprob);
    Json& top = entry["top_logprobs"] = Json::array();
    for (const auto& [bytes, logprob] : token.top) top.push_back(token_json(bytes, logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

}  // namespace

size_t characters_of(const std::vector<TokenReport>& tokens) {
  size_t count = 0;
  for (const TokenReport& token : tokens) count += characters_of(std::string_view(token.bytes));
  return count;
}

Json logprobs_json(bool is_chat, const std::vector<TokenReport>& tokens, size_t offset) {
  if (is_chat) return chat_logprobs(tokens);
  Json names = Json::array();
  Json values = Json::array();
  Json tops = Json::array();
  Json offsets = Json::array();
  for (const TokenReport& token : tokens) {
    names.push_back(token.bytes);
    values.push_back(token.logprob);
    Json top = Json::object();
    for (const auto& [bytes, logprob] : token.top) top.emplace(bytes, logprob);
    top.emplace(token.bytes, token.logprob);
    tops.push_back(std::move(top));
    offsets.push_back(offset);
    offset += characters_of(std::string_view(token.bytes));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

namespace {

/// In a stream calls have their number, and only the first piece says what they are.
Json call_json(const CallPiece& call, bool is_streamed) {
  Json json = {{"function", {{"arguments", call.arguments}}}};
  if (is_streamed) json["index"] = call.index;
  if (call.id.empty()) return json;
  json["id"] = call.id;
  json["type"] = "function";
  json["function"]["name"] = call.name;
  return json;
}

}  // namespace

Json choice_json(const ReplyHead& head, size_t index, const std::string& text, const std::vector<CallPiece>& calls,
                 Json logprobs, std::string_view finish) {
  Json choice = {{"index", index}, {"finish_reason", finish}, {"logprobs", std::move(logprobs)}};
  if (head.is_chat) {
    Json& message = choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
    if (!calls.empty() && text.empty()) message["content"] = nullptr;
    for (const CallPiece& call : calls) message["tool_calls"].push_back(call_json(call, false));
  } else {
    choice["text"] = text;
  }
  return choice;
}

Json reply_json(const ReplyHead& head, Json choices, const Usage& usage) {
  return {{"id", head.id},
          {"object", head.is_chat ? "chat.completion" : "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"choices", std::move(choices)},
          {"usage", usage_json(usage)}};
}

std::string role_event(const ReplyHead& head, size_t index) {
  return part(head, {{"index", index},
                     {"delta", {{"role", "assistant"}, {"content", head.has_tools ? Json() : Json("")}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}});
}

std::string text_event(const ReplyHead& head, size_t index, const std::string& text, Json logprobs) {
  Json choice = {{"index", index}, {"logprobs", std::move(logprobs)}, {"finish_reason", nullptr}};
  if (head.is_chat) {
    choice["delta"] = {{"content", text}};
  } else {
    choice["text"] = text;
  }
  return part(head, std::move(choice));
}

std::string calls_event(const ReplyHead& head, size_t index, const std::vector<CallPiece>& calls) {
  Json list = Json::array();
  for (const CallPiece& call : calls) list.push_back(call_json(call, true));
  return part(head, {{"index", index},
                     {"delta", {{"tool_calls", std::move(list)}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}});
}

std::string finish_event(const ReplyHead& head, size_t index, std::string_view finish) {
  Json choice = {{"index", index}, {"logprobs", nullptr}, {"finish_reason", finish}};
  if (head.is_chat) {
    choice["delta"] = Json::object();
  } else {
    choice["text"] = "";
  }
  return part(head, std::move(choice));
}

std::string usage_event(const ReplyHead& head, const Usage& usage) {
  return part(head, Json::array(), usage_json(usage));
}

std::string error_event(const Refusal& refusal) { return "data: " + refusal.body() + "\n\n"; }

}  // namespace cria::server
