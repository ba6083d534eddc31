// The bodies of the server's requests, and what is looked at before them.
//
// The first byte picks what is asked for, the rest is the body; for the head of a request each line is a header.
#include "server/request.h"

#include <cmath>

#include "fuzz_target.h"
#include "server/call_grammar.h"
#include "server/guard.h"

namespace cria::fuzz {
namespace {

const server::ServerOptions& options() {
  static const server::ServerOptions all = {.api_key = "secret",
                                            .model_name = "model",
                                            .allowed_hosts = {"host.example"},
                                            .allowed_origins = {"http://page.example"},
                                            .max_tokens = 100};
  return all;
}

/// A refusal must reach the client as JSON.
void check_refusal(const server::Refusal& refusal) {
  CRIA_CHECK(refusal.status >= 400 && refusal.status < 500);
  check_message(refusal.message);
  const auto body = parse_json(refusal.body(), "body");
  CRIA_CHECK(body && body->at("error").at("message").is_string());
}

void check_completion(const std::string& body, bool is_chat) {
  const auto request = server::parse_completion(body, is_chat, options());
  if (!request) return check_refusal(request.error());
  CRIA_CHECK(request->is_chat == is_chat && request->max_tokens >= 1 && request->max_tokens <= 100);
  CRIA_CHECK(request->count >= 1 && request->count <= 8 && request->stops.size() <= 4);
  CRIA_CHECK(!is_chat || !request->messages.empty());
  if (request->tools.choice != server::ToolChoice::kNone) {
    CRIA_CHECK(!request->tools.tools.empty() && !request->grammar);
    for (const auto form :
         {text::CallForm::kHermes, text::CallForm::kLlama3, text::CallForm::kMistral, text::CallForm::kMistralArgs}) {
      if (const auto calls = server::call_grammar(request->tools, form, {}); !calls) check_refusal(calls.error());
    }
  }
  for (const auto& bias : request->sampling.logit_bias) CRIA_CHECK(std::isfinite(bias.value));
  for (const std::string& stop : request->stops) CRIA_CHECK(!stop.empty());
}

void check_embedding(const std::string& body) {
  const auto request = server::parse_embedding(body, options());
  if (!request) return check_refusal(request.error());
  for (const auto& text : request->inputs) CRIA_CHECK(text.text.empty() != text.tokens.empty());
}

void check_head(std::string_view lines) {
  server::RequestHead head;
  head.method = take_until(lines, ' ');
  head.path = take_until(lines, '\n');
  std::vector<std::string>* const headers[] = {
      &head.host,         &head.origin,          &head.authorization, &head.content_length, &head.transfer_encoding,
      &head.content_type, &head.content_encoding};
  while (!lines.empty()) {
    std::string_view line = take_until(lines, '\n');
    headers[take_byte(line) % std::size(headers)]->emplace_back(line);
  }
  if (const auto refusal = server::refuse_head(head, options())) return check_refusal(*refusal);
  CRIA_CHECK(head.content_length.size() + head.transfer_encoding.size() <= 1 && head.host.size() == 1);
  for (const std::string& origin : head.origin) {
    CRIA_CHECK(origin == "http://" + head.host[0] || server::allows_origin(origin, options()));
  }
}

}  // namespace

CRIA_FUZZ_TARGET(request, 4096) {
  const unsigned kind = take_byte(input);
  const std::string body(input);
  switch (kind) {
    case 'c': return check_completion(body, true);
    case 't': return check_completion(body, false);
    case 'e': return check_embedding(body);
    case 'k':
      if (const auto request = server::parse_tokenize(body); !request) check_refusal(request.error());
      return;
    case 'd':
      if (const auto tokens = server::parse_detokenize(body); !tokens) check_refusal(tokens.error());
      return;
    default: return check_head(input);
  }
}

}  // namespace cria::fuzz
