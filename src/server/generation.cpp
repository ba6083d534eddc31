#include "server/generation.h"

#include <algorithm>

namespace cria::server {
Checked<std::shared_ptr<engine::Ticket>> submit(engine::Scheduler& scheduler, engine::Job job) {
  auto ticket = scheduler.submit(std::move(job));
  if (!ticket) return std::unexpected(refusal_of(ticket.error()));
  if (*ticket != nullptr) return *std::move(ticket);
  const bool is_broken = scheduler.state().is_broken;
  return std::unexpected(Refusal{.status = is_broken ? 503 : 429,
                                 .message = is_broken ? "the device has failed: nothing is generated any more"
                                                      : "too many requests are waiting: try again later",
                                 .code = is_broken ? "device_failed" : "queue_full"});
}

Checked<std::unique_ptr<Generation>> Generation::begin(engine::Engine& engine, engine::Scheduler& scheduler,
                                                       const CompletionRequest& request,
                                                       const std::vector<uint32_t>& prompt) {
  std::unique_ptr<Generation> generation(new Generation(engine));
  generation->prompt_tokens_ = prompt.size();
  engine::Job job{.prompt = prompt, .options = {}};
  job.options.sampling = engine::resolve_sampling(request.sampling, engine.defaults());
  job.options.max_tokens = request.max_tokens;
  job.options.grammar = request.grammar;
  job.top_logprobs = request.top_logprobs;
  if (!request.ignores_eos) job.options.stop_tokens = engine::stop_tokens(engine.config(), engine.defaults());
  for (uint32_t i = 0; i < request.count; ++i) {
    CRIA_TRY_ASSIGN(auto ticket, submit(scheduler, job));
    engine::TextStream stream(engine.tokenizer(), request.stops);
    if (const Status passed = stream.pass(prompt); !passed) return std::unexpected(refusal_of(passed.error()));
    generation->choices_.push_back({.ticket = std::move(ticket), .stream = std::move(stream)});
    ++job.options.sampling.seed;
  }
  return generation;
}

Generation::~Generation() {
  for (Choice& choice : choices_) choice.ticket->cancel();
}

TokenReport Generation::report(uint32_t token, const engine::TokenLogprobs& logprobs) const {
  // The model's vocabulary may be larger than the tokenizer's: what that does not know stands for nothing.
  const auto bytes_of = [&](uint32_t id) { return tokenizer_.token_bytes(id).value_or(""); };
  TokenReport report{.bytes = bytes_of(token), .logprob = logprobs.chosen, .top = {}};
  for (const auto& [id, logprob] : logprobs.top) report.top.emplace_back(bytes_of(id), logprob);
  return report;
}

Checked<Generation::Part> Generation::poll(size_t index) {
  Choice& choice = choices_[index];
  Part part;
  if (choice.has_ended) return part;
  const engine::Ticket::News news = choice.ticket->wait(kPoll);
  for (size_t i = 0; i < news.tokens.size() && !choice.stream.stopped(); ++i) {
    const uint32_t token = news.tokens[i];
    if (!news.logprobs.empty()) part.tokens.push_back(report(token, news.logprobs[i]));
    ++choice.generated;
    auto text = choice.stream.push(token);
    if (!text) return std::unexpected(refusal_of(text.error()));
    part.text += *text;
  }
  if (news.error) return std::unexpected(refusal_of(*news.error));
  if (!choice.stream.stopped() && !news.has_ended) return part;
  choice.has_ended = part.ends_now = true;
  choice.ticket->cancel();
  part.text += choice.stream.finish();
  part.reason = choice.stream.stopped() ? engine::StopReason::kStopText : news.reason;
  if (part.reason != engine::StopReason::kInterrupted) return part;
  return std::unexpected(shutting_down());
}

bool Generation::has_ended() const {
  return std::ranges::all_of(choices_, [](const Choice& choice) { return choice.has_ended; });
}

Usage Generation::usage() const {
  Usage usage{.prompt_tokens = prompt_tokens_};
  for (const Choice& choice : choices_) {
    usage.generated_tokens += choice.generated;
    usage.kept_tokens = std::max<uint64_t>(usage.kept_tokens, choice.ticket->kept_tokens());
  }
  return usage;
}

}  // namespace cria::server
