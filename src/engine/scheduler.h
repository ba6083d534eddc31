// Continuous batching: many generations share the model, join and leave between steps.
//
// One thread, the one that calls run(), owns the device. Others submit jobs and wait for their tickets. Prompts are
// read in chunks, and between two chunks every text that is being generated gets its next token. What several prompts
// begin with is read once: its full pages of the cache are shared (model/prefix_pages.h), and kept for a while. Where
// pages run out, the texts that came last wait in host memory (engine/spill.h). Where that is asked for and pays, a
// step verifies drafts of how its texts go on (engine/speculation.h).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "engine/constraint.h"
#include "engine/engine.h"
#include "engine/speculation.h"
#include "engine/spill.h"
#include "engine/ticket.h"
#include "engine/token_sampler.h"
#include "model/prefix_pages.h"

namespace cria::engine {

struct SchedulerOptions {
  size_t max_queue = 64;        ///< jobs that wait for a slot; more are refused
  uint32_t chunk_tokens = 128;  ///< of a pass that reads a prompt while other texts are generated, theirs included
  /// Tokens of texts whose pages are remembered, so that others that begin alike share them; 0: none. Unset: as many as
  /// the context has.
  std::optional<uint32_t> shared_tokens = {};
  /// Host memory for pages of texts that had to give way when pages ran out; beyond it they are read again.
  uint64_t spill_bytes = uint64_t{2} << 30U;
  /// Called by run()'s thread after the device was lost and the jobs that ran have ended, before it is opened again.
  std::function<void(const Error&)> on_device_loss = {};
};

/// Counts since the start, and what is the case now.
struct SchedulerState {
  size_t slots = 0, busy_slots = 0, queued = 0;
  uint64_t finished = 0, cancelled = 0, failed = 0, refused = 0;
  uint64_t prompt_tokens = 0, generated_tokens = 0;
  uint64_t kept_tokens = 0;    ///< of prompts, which were in the cache
  uint64_t shared_tokens = 0;  ///< of these, what came from pages of other texts
  uint64_t steps = 0;
  uint64_t drafted_tokens = 0;   ///< that were verified
  uint64_t accepted_tokens = 0;  ///< of these, which became part of texts
  uint32_t pages = 0;            ///< that the cache may have
  uint32_t used_pages = 0;       ///< that hold anything, if only to be used again
  uint32_t busy_pages = 0;       ///< of texts that are being generated
  size_t preempted = 0;          ///< jobs that had to give way, and wait to go on
  uint64_t spilled_bytes = 0;    ///< of their pages, in host memory
  uint64_t preemptions = 0;      ///< times that a job had to give way
  uint64_t recomputations = 0;   ///< of these, times that its pages were not kept
  MemoryUse memory;              ///< of the device
  uint64_t device_losses = 0;
  bool is_recovering = false;  ///< the device was lost, and is being opened again
  bool is_broken = false;      ///< the device failed for good: nothing will be generated any more
};

class Scheduler {
 public:
  /// Uses all slots that the engine's model has. The engine must outlive the scheduler.
  static Result<std::unique_ptr<Scheduler>> create(Engine& engine, const SchedulerOptions& options);

  /// Queues a job; nullptr where the queue is full, or no more jobs are taken.
  /// Errors (kInvalidInput): settings out of range, a prompt that is empty, too long or outside the vocabulary.
  Result<std::shared_ptr<Ticket>> submit(Job job);

  /// Generates until stop() was called and all jobs have ended. Where the device is lost, the jobs that run end with an
  /// error, the device is opened and the model loaded again, and the jobs that wait go on.
  /// Errors, when all jobs have ended and no more are taken: kDevice where the device is lost three times within a
  /// minute, or what the loading failed with.
  Status run();
  /// No more jobs are taken. With `at_once` those that have begun end before the next step, else they are finished.
  void stop(bool at_once);

  [[nodiscard]] SchedulerState state() const;

 private:
  /// A job that was begun, and what there is of it.
  struct Text {
    std::shared_ptr<Ticket> ticket;
    std::vector<uint32_t> tokens;  ///< prompt, and what was generated
    uint32_t cached = 0;           ///< positions that are in the cache, or in copies of its pages
    uint32_t generated = 0;
    uint32_t drawn = 0;  ///< counts the draws: a step ahead may be thrown away
    uint64_t arrival = 0;
    std::optional<Constraint> constraint = {};  ///< where the job has a grammar
    /// Positions that must be in the cache before the next token is drawn by a step.
    [[nodiscard]] uint32_t to_read() const { return static_cast<uint32_t>(tokens.size()) - (generated > 0 ? 1 : 0); }
    /// A prompt, or a text whose pages were not kept when it had to give way.
    [[nodiscard]] bool is_reading() const { return ticket && (generated == 0 || cached < to_read()); }
  };
  /// A place in the cache, and the text in it; free where that has no ticket, with the text of the last job.
  struct Slot : Text {
    uint32_t published = 0;  ///< full pages that others may share
    uint64_t last_used = 0;
  };
  struct Preempted : Text {
    PageCopies copies;  ///< of the pages of its `cached` positions
  };
  /// A chunk of a prompt, and when its pass began.
  struct Chunk {
    uint32_t tokens = 0;
    uint32_t position = 0;
    Clock::time_point begun;
  };
  /// A row of a step: a text's last token, or a drafted one behind it.
  struct Row {
    uint32_t slot = 0;
    std::shared_ptr<Ticket> ticket;  ///< whose the slot was when the step began
    uint32_t position = 0;
    std::vector<uint32_t> drafted = {};  ///< up to this row's own, which it supposes; empty for the text's own token
  };
  /// A step whose tokens are on their way back.
  struct Flight {
    std::vector<Row> rows;
    std::optional<Chunk> chunk;  ///< in whose pass it was taken
    Clock::time_point begun = Clock::now();
    bool is_ahead = false;     ///< begun before the tokens of the step before it were known
    bool is_followed = false;  ///< by one that can begin ahead
    gpu::PendingRead results;
    std::vector<gpu::PendingRead> logits;  ///< of each row; valid where they were asked for
    bool is_drawn = true;                  ///< else the draws wait for what the grammars of its texts allow
    [[nodiscard]] bool valid() const { return !rows.empty(); }
    [[nodiscard]] std::vector<uint32_t> slots() const;
  };

  Scheduler(Engine& engine, const SchedulerOptions& options);
  Status check(const Job& job) const;
  Status admit();
  void admit_to(uint32_t index, std::shared_ptr<Ticket> ticket);
  [[nodiscard]] uint32_t best_slot(const std::vector<uint32_t>& prompt) const;
  Status begin_text(Slot& slot, uint32_t index);
  Status adopt_pages(Slot& slot, uint32_t index);
  void publish_pages(Slot& slot);
  void drop_cancelled();
  Status iterate();
  Status read_chunk(uint32_t index);
  Result<bool> make_room_to_read(Slot& slot, uint32_t index);
  [[nodiscard]] uint32_t chunk_tokens(const Slot& slot, uint32_t others) const;
  Status finish_embedding(Slot& slot, uint32_t index, gpu::Recorder& recorder);
  Status make_room_for_step();
  [[nodiscard]] std::vector<uint32_t> joining(const Slot& reading) const;
  Status decode();
  [[nodiscard]] std::vector<uint32_t> decoding() const;
  void add_row(uint32_t index, uint32_t position, model::Batch& batch, Flight& flight,
               std::vector<uint32_t> drafted = {}) const;
  [[nodiscard]] std::vector<Speculation::Text> draftable(const std::vector<uint32_t>& rows) const;
  Result<bool> verify_drafts(const std::vector<uint32_t>& rows);
  [[nodiscard]] bool is_next(const Row& row) const;
  void observe(const Flight& flight);
  Result<Flight> launch(const std::vector<uint32_t>& slots, bool is_ahead);
  [[nodiscard]] bool can_look_ahead() const;
  Status submit_draws(gpu::Recorder& recorder, Flight& flight);
  Status draw_late(Flight& flight);
  Status collect(Flight flight);
  void count_step();
  void count_drafts(Ticket& ticket, uint32_t drafted, uint32_t accepted);
  Status take_row(Flight& flight, size_t index, kernels::SampledToken sampled);
  void take(Slot& slot, kernels::SampledToken sampled, std::optional<TokenLogprobs> logprobs);
  Status make_tools();
  Status begin_sampler(const Slot& slot, uint32_t index);
  Status reserve(uint32_t index, uint32_t positions);
  Result<bool> make_room(uint32_t index, uint32_t positions);
  Status preempt(Slot& slot);
  Status resume();
  Status restore(uint32_t index, const Preempted& text);
  [[nodiscard]] bool has_room(const Text& text) const;
  [[nodiscard]] uint32_t running() const;
  [[nodiscard]] uint32_t busy_pages() const;
  void drop_preempted(bool all);
  void tell_pages();
  void release(Slot& slot);
  void forget(Slot& slot);
  void end(Slot& slot, StopReason reason);
  void fail_job(Slot& slot, const Error& error);
  Status recover(const Error& error);
  void count_loss();
  void forget_all(const Error& error);
  Status reload();
  Status give_up(Error error);
  [[nodiscard]] bool has_work() const;

  Engine& engine_;
  SchedulerOptions options_;
  std::vector<Slot> slots_;  // of run()'s thread
  Flight flight_;
  std::deque<Preempted> preempted_;  // in the order of their arrival
  uint64_t spilled_bytes_ = 0;       // of their copies
  uint64_t clock_ = 0;
  uint64_t arrivals_ = 0;
  uint32_t next_prompt_ = 0;  // slots take turns in reading their prompts
  TokenSampler sampler_;
  Speculation speculation_;
  Clock::time_point arrival_;  // of the tokens of the step before
  Constraints constraints_;
  PageSpill spill_;
  model::PrefixPages prefix_pages_;
  size_t most_prefix_pages_ = 0;
  std::vector<Clock::time_point> losses_;  // of the device, within the last minute

  mutable std::mutex mutex_;  // for all below
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Ticket>> queue_;
  bool is_stopping_ = false;
  bool stops_at_once_ = false;
  SchedulerState state_;
};

}  // namespace cria::engine
