#include "server/reply.h"

namespace cria::server {
namespace {

constexpr int kInternal = 500;
constexpr int kUnavailable = 503;

std::string event(const Json& json) { return "data: " + dumped(json) + "\n\n"; }

/// A streamed part with one choice.
std::string part(const ReplyHead& head, Json choice) {
  return event({{"id", head.id},
                {"object", head.is_chat ? "chat.completion.chunk" : "text_completion"},
                {"created", head.created},
                {"model", head.model},
                {"choices", Json::array({std::move(choice)})}});
}

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
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kDevice: return {.status = kUnavailable, .message = error.message()};
    default: return {.status = kInternal, .message = error.message()};
  }
}

std::string_view finish_reason(engine::StopReason reason) {
  const bool is_whole = reason == engine::StopReason::kEndOfText || reason == engine::StopReason::kStopText;
  return is_whole ? "stop" : "length";
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.generated_tokens},
          {"total_tokens", usage.prompt_tokens + usage.generated_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.kept_tokens}}}};
}

Json choice_json(const ReplyHead& head, size_t index, const std::string& text, engine::StopReason reason) {
  Json choice = {{"index", index}, {"finish_reason", finish_reason(reason)}, {"logprobs", nullptr}};
  if (head.is_chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
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
                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                     {"logprobs", nullptr},
                     {"finish_reason", nullptr}});
}

std::string text_event(const ReplyHead& head, size_t index, const std::string& text) {
  Json choice = {{"index", index}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
  if (head.is_chat) {
    choice["delta"] = {{"content", text}};
  } else {
    choice["text"] = text;
  }
  return part(head, std::move(choice));
}

std::string finish_event(const ReplyHead& head, size_t index, engine::StopReason reason) {
  Json choice = {{"index", index}, {"logprobs", nullptr}, {"finish_reason", finish_reason(reason)}};
  if (head.is_chat) {
    choice["delta"] = Json::object();
  } else {
    choice["text"] = "";
  }
  return part(head, std::move(choice));
}

std::string usage_event(const ReplyHead& head, const Usage& usage) {
  return event({{"id", head.id},
                {"object", head.is_chat ? "chat.completion.chunk" : "text_completion"},
                {"created", head.created},
                {"model", head.model},
                {"choices", Json::array()},
                {"usage", usage_json(usage)}});
}

std::string error_event(const Refusal& refusal) { return "data: " + refusal.body() + "\n\n"; }

}  // namespace cria::server
