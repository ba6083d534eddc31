// A generation that somebody waits for: what the model's thread and a client's thread share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/logprobs.h"
#include "engine/sequence.h"

namespace cria::engine {

/// What a client asks for.
struct Job {
  std::vector<uint32_t> prompt;
  GenerateOptions options;
  /// Asks for the log-probability of each token, and of so many of the likeliest. Costs the reading of a row of logits
  /// for each token.
  std::optional<uint32_t> top_logprobs = {};
  bool embeds = false;  ///< asks for the prompt's embedding instead of an answer
};

/// A job on its way through the scheduler. Its methods may be called from any thread.
class Ticket {
 public:
  explicit Ticket(Job job) : job_(std::move(job)) {}

  [[nodiscard]] const Job& job() const { return job_; }

  /// What has happened since the last call.
  struct News {
    std::vector<uint32_t> tokens;
    std::vector<TokenLogprobs> logprobs;  ///< of each token, where they were asked for
    std::vector<float> embedding;         ///< [hidden_size], of length 1, at the end of a job that embeds
    bool has_ended = false;
    StopReason reason = StopReason::kInterrupted;
    std::optional<Error> error;  ///< where it ended with one
  };
  /// Waits for news, at most so long; what comes back may be empty.
  News wait(std::chrono::milliseconds limit);

  /// Nobody waits any longer: the job ends before the next step.
  void cancel() { is_cancelled_ = true; }
  [[nodiscard]] bool is_cancelled() const { return is_cancelled_; }

  /// Of the prompt, which needed not be read because the slot's cache held them.
  [[nodiscard]] uint32_t kept_tokens() const { return kept_tokens_; }

  /// Drafted tokens that were verified, and those of them that became part of the text.
  [[nodiscard]] uint32_t drafted_tokens() const { return drafted_tokens_; }
  [[nodiscard]] uint32_t accepted_tokens() const { return accepted_tokens_; }

  // For the scheduler.
  void count_drafts(uint32_t drafted, uint32_t accepted) {
    drafted_tokens_ += drafted;
    accepted_tokens_ += accepted;
  }
  void set_kept_tokens(uint32_t count) { kept_tokens_ = count; }
  void add(uint32_t token, std::optional<TokenLogprobs> logprobs);
  void set_embedding(std::vector<float> embedding);
  void end(StopReason reason);
  void fail(Error error);

 private:
  const Job job_;
  std::atomic<bool> is_cancelled_ = false;
  std::atomic<uint32_t> kept_tokens_ = 0;
  std::atomic<uint32_t> drafted_tokens_ = 0, accepted_tokens_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  News news_;
};

}  // namespace cria::engine
