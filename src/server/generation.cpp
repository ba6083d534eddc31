#include "server/generation.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

namespace cria::server {
namespace {

/// Mistral's templates take ids of 9 letters and digits only.
std::string call_id(text::CallForm form) {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 random(std::random_device{}());
  const bool is_short = form == text::CallForm::kMistral || form == text::CallForm::kMistralArgs;
  std::string id = is_short ? "" : "call_";
  for (const size_t end = id.size() + (is_short ? 9 : 24); id.size() < end;) id += kLetters[random() % kLetters.size()];
  return id;
}

}  // namespace

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
                                                       const std::vector<uint32_t>& prompt,
                                                       const std::optional<CallReading>& calls) {
  std::unique_ptr<Generation> generation(new Generation(engine));
  generation->prompt_tokens_ = prompt.size();
  generation->call_reading_ = calls;
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
    Choice& choice = generation->choices_.emplace_back(std::move(ticket), std::move(stream));
    if (calls) choice.calls.emplace(calls->form);
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
    auto text = text_of(choice, token);
    if (!text) return std::unexpected(refusal_of(text.error()));
    part.text += *text;
  }
  if (news.error) return std::unexpected(refusal_of(*news.error));
  part.ends_now = choice.stream.stopped() || news.has_ended;
  if (part.ends_now) part.text += choice.stream.finish();
  if (choice.calls) read_calls(*choice.calls, part);
  if (!part.ends_now) return part;
  choice.has_ended = true;
  choice.ticket->cancel();
  const engine::StopReason reason = choice.stream.stopped() ? engine::StopReason::kStopText : news.reason;
  if (reason == engine::StopReason::kInterrupted) return std::unexpected(shutting_down());
  part.finish = finish_reason(reason, choice.calls && choice.calls->calls() > 0 && !choice.calls->is_in_call());
  return part;
}

/// A special token that marks a call shows as its marker.
Result<std::string> Generation::text_of(Choice& choice, uint32_t token) const {
  if (call_reading_) {
    for (const auto& [marker, special] : call_reading_->markers) {
      if (special == token) return choice.stream.show(marker);
    }
  }
  return choice.stream.push(token);
}

/// Takes the calls out of the text that came.
void Generation::read_calls(CallParser& parser, Part& part) const {
  std::vector<AnswerPiece> pieces = parser.push(std::exchange(part.text, {}));
  if (part.ends_now) std::ranges::move(parser.finish(), std::back_inserter(pieces));
  for (AnswerPiece& piece : pieces) {
    if (piece.call == AnswerPiece::kNoCall) {
      part.text += piece.text;
      continue;
    }
    CallPiece& call = part.calls.emplace_back(piece.call);
    if (!piece.name.empty()) call.id = call_id(call_reading_->form);
    call.name = std::move(piece.name);
    call.arguments = std::move(piece.text);
  }
}

bool Generation::has_ended() const {
  return std::ranges::all_of(choices_, [](const Choice& choice) { return choice.has_ended; });
}

Usage Generation::usage() const {
  Usage usage{.prompt_tokens = prompt_tokens_};
  for (const Choice& choice : choices_) {
    usage.generated_tokens += choice.generated;
    usage.kept_tokens = std::max<uint64_t>(usage.kept_tokens, choice.ticket->kept_tokens());
    const uint32_t accepted = choice.ticket->accepted_tokens();
    usage.accepted_tokens += accepted;
    usage.rejected_tokens += choice.ticket->drafted_tokens() - accepted;
  }
  return usage;
}

}  // namespace cria::server
