// Answers in the making: jobs at the scheduler, and their texts.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "engine/text_stream.h"
#include "server/call_grammar.h"
#include "server/call_parser.h"
#include "server/reply.h"
#include "server/request.h"

namespace cria::server {

/// How long to wait for news of a job before looking whether its client is still there.
inline constexpr std::chrono::milliseconds kPoll{100};

/// Queues a job. Refusals: 400 for what cannot be read, 429 where the queue is full, 503 where the device has failed.
Checked<std::shared_ptr<engine::Ticket>> submit(engine::Scheduler& scheduler, engine::Job job);

/// How calls of tools are read from answers.
struct CallReading {
  text::CallForm form = text::CallForm::kHermes;
  SpecialMarkers markers;
};

/// The answers to one request. What is left of them when it goes is cancelled.
class Generation {
 public:
  /// Queues `request.count` jobs for one prompt. Where tools may be called, `calls` tells how. Refusals: 400 for a
  /// prompt that cannot be read, 429 where the queue is full.
  static Checked<std::unique_ptr<Generation>> begin(engine::Engine& engine, engine::Scheduler& scheduler,
                                                    const CompletionRequest& request,
                                                    const std::vector<uint32_t>& prompt,
                                                    const std::optional<CallReading>& calls = {});
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// What came of one answer since it was asked last.
  struct Part {
    std::string text;
    std::vector<CallPiece> calls;     ///< behind the text
    std::vector<TokenReport> tokens;  ///< where log-probabilities were asked for; stop texts are among them
    bool ends_now = false;
    std::string_view finish = {};  ///< the reason, where it does
  };
  /// Waits for news of an answer, for a tenth of a second at most. Refusals: what the engine failed with.
  Checked<Part> poll(size_t index);

  [[nodiscard]] size_t count() const { return choices_.size(); }
  [[nodiscard]] bool has_ended(size_t index) const { return choices_[index].has_ended; }
  [[nodiscard]] bool has_ended() const;
  [[nodiscard]] Usage usage() const;

 private:
  struct Choice {
    std::shared_ptr<engine::Ticket> ticket;
    engine::TextStream stream;
    std::optional<CallParser> calls = {};
    uint64_t generated = 0;
    bool has_ended = false;
  };
  explicit Generation(const engine::Engine& engine) : tokenizer_(engine.tokenizer()) {}
  [[nodiscard]] TokenReport report(uint32_t token, const engine::TokenLogprobs& logprobs) const;
  Result<std::string> text_of(Choice& choice, uint32_t token) const;
  void read_calls(CallParser& parser, Part& part) const;
  const text::Tokenizer& tokenizer_;
  std::optional<CallReading> call_reading_;
  std::vector<Choice> choices_;
  uint64_t prompt_tokens_ = 0;
};

}  // namespace cria::server
