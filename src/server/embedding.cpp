#include "server/embedding.h"

namespace cria::server {
namespace {

Checked<std::vector<uint32_t>> tokens_of(engine::Engine& engine, const EmbeddingRequest::Input& input, size_t index) {
  std::vector<uint32_t> tokens = input.tokens;
  if (tokens.empty()) {
    auto encoded = engine.tokenizer().encode(input.text);
    if (!encoded) return std::unexpected(refusal_of(encoded.error()));
    tokens = *std::move(encoded);
  }
  const uint32_t context = engine.max_context();
  if (tokens.size() <= context) return tokens;
  return std::unexpected(Refusal{
      .message = fmt::format("input {} has {} tokens, more than the context of {}", index, tokens.size(), context),
      .parameter = "input",
      .code = "context_length_exceeded"});
}

/// Waits for an embedding; the ticket is cancelled where nobody waits for it any more.
Checked<std::vector<float>> wait_for(engine::Ticket& ticket, const std::function<bool()>& is_abandoned) {
  for (;;) {
    engine::Ticket::News news = ticket.wait(kPoll);
    if (news.error) return std::unexpected(refusal_of(*news.error));
    if (!news.embedding.empty()) return std::move(news.embedding);
    if (news.has_ended) return std::unexpected(shutting_down());
    if (is_abandoned()) {
      ticket.cancel();
      return std::unexpected(Refusal{.status = 499, .message = "the client has gone away"});
    }
  }
}

}  // namespace

Checked<Embeddings> embeddings_of(engine::Engine& engine, engine::Scheduler& scheduler, const EmbeddingRequest& request,
                                  const std::function<bool()>& is_abandoned) {
  const uint32_t size = engine.config().hidden_size;
  if (request.dimensions && *request.dimensions != size) {
    return std::unexpected(
        Refusal{.message = fmt::format("\"dimensions\" is {}: this model's embeddings have {} numbers, and are not cut",
                                       *request.dimensions, size),
                .parameter = "dimensions",
                .code = "invalid_value"});
  }
  std::vector<std::vector<uint32_t>> prompts;
  for (const EmbeddingRequest::Input& input : request.inputs) {
    CRIA_TRY_ASSIGN(auto tokens, tokens_of(engine, input, prompts.size()));
    prompts.push_back(std::move(tokens));
  }
  Embeddings embeddings;
  for (std::vector<uint32_t>& prompt : prompts) {
    embeddings.tokens += prompt.size();
    CRIA_TRY_ASSIGN(const auto ticket, submit(scheduler, {.prompt = std::move(prompt), .options = {}, .embeds = true}));
    CRIA_TRY_ASSIGN(auto vector, wait_for(*ticket, is_abandoned));
    embeddings.vectors.push_back(std::move(vector));
  }
  return embeddings;
}

}  // namespace cria::server
