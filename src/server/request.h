// Requests in the form of OpenAI's API: every field is checked, and what is not implemented is refused by name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/defaults.h"
#include "grammar/grammar.h"
#include "server/options.h"
#include "server/reply.h"
#include "server/tools.h"
#include "text/chat_template.h"

namespace cria::server {

/// What /v1/chat/completions and /v1/completions ask for.
struct CompletionRequest {
  bool is_chat = true;
  std::vector<text::ChatMessage> messages;  ///< of a chat
  std::string prompt;                       ///< of a completion, where it is a text
  std::vector<uint32_t> prompt_tokens;      ///< of a completion, where it is a list of tokens
  engine::SamplingChoice sampling;
  uint32_t max_tokens = 0;
  std::optional<uint32_t> top_logprobs;  ///< asks for log-probabilities, and those of so many of the likeliest
  uint32_t count = 1;                    ///< answers to the one prompt ("n")
  std::vector<std::string> stops;
  std::shared_ptr<const grammar::Grammar> grammar;  ///< what answers must fit
  ToolUse tools;                                    ///< of a chat
  bool ignores_eos = false;                         ///< goes on behind a token that ends texts
  bool stream = false;
  bool include_usage = false;  ///< a last event with the usage
};

/// The parameters that the server takes, with their limits, are listed in docs/server.md.
Checked<CompletionRequest> parse_completion(const std::string& body, bool is_chat, const ServerOptions& options);

/// The answer to a request for another model than the one that is here.
[[nodiscard]] Refusal refuse_model(const std::string& model, const ServerOptions& options);

/// What /v1/embeddings asks for.
struct EmbeddingRequest {
  struct Input {
    std::string text;
    std::vector<uint32_t> tokens;  ///< where it is not a text
  };
  std::vector<Input> inputs;
  bool is_base64 = false;              ///< little-endian f32 in base64, instead of a list of numbers
  std::optional<uint64_t> dimensions;  ///< numbers that are wanted of each
};
Checked<EmbeddingRequest> parse_embedding(const std::string& body, const ServerOptions& options);

struct TokenizeRequest {
  std::string text;
  bool add_special_tokens = true;
};
Checked<TokenizeRequest> parse_tokenize(const std::string& body);
/// The list "tokens".
Checked<std::vector<uint32_t>> parse_detokenize(const std::string& body);

}  // namespace cria::server
