#include "server/generation.h"

#include <algorithm>

namespace cria::server {
namespace {
constexpr std::chrono::milliseconds kPoll{100};
}  // namespace

Checked<std::unique_ptr<Generation>> Generation::begin(engine::Engine& engine, engine::Scheduler& scheduler,
                                                       const CompletionRequest& request,
                                                       const std::vector<uint32_t>& prompt) {
  std::unique_ptr<Generation> generation(new Generation);
  generation->prompt_tokens_ = prompt.size();
  engine::Job job{.prompt = prompt, .options = {}};
  job.options.sampling = engine::resolve_sampling(request.sampling, engine.defaults());
  job.options.max_tokens = request.max_tokens;
  job.options.stop_tokens = engine::stop_tokens(engine.config(), engine.defaults());
  for (uint32_t i = 0; i < request.count; ++i) {
    auto ticket = scheduler.submit(job);
    if (!ticket) return std::unexpected(refusal_of(ticket.error()));
    if (*ticket == nullptr) {
      const bool is_broken = scheduler.state().is_broken;
      return std::unexpected(Refusal{.status = is_broken ? 503 : 429,
                                     .message = is_broken ? "the device has failed: nothing is generated any more"
                                                          : "too many requests are waiting: try again later",
                                     .code = is_broken ? "device_failed" : "queue_full"});
    }
    engine::TextStream stream(engine.tokenizer(), request.stops);
    if (const Status passed = stream.pass(prompt); !passed) return std::unexpected(refusal_of(passed.error()));
    generation->choices_.push_back({.ticket = *std::move(ticket), .stream = std::move(stream)});
    ++job.options.sampling.seed;
  }
  return generation;
}

Generation::~Generation() {
  for (Choice& choice : choices_) choice.ticket->cancel();
}

Checked<Generation::Part> Generation::poll(size_t index) {
  Choice& choice = choices_[index];
  Part part;
  if (choice.has_ended) return part;
  const engine::Ticket::News news = choice.ticket->wait(kPoll);
  for (const uint32_t token : news.tokens) {
    if (choice.stream.stopped()) break;
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
  return std::unexpected(Refusal{.status = 503, .message = "the server is shutting down", .code = "shutting_down"});
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
