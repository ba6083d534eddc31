// The scheduler's jobs: their queue, their slots, and what slots share. scheduler_steps.cpp has the passes of the
// model.
#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

namespace cria::engine {

using kernels::kPageSize;

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), options_(options), constraints_(engine), prefix_pages_(engine.model().kv_cache()) {
  // What lies in the cache does not depend on what follows, unless RoPE turns by the text's length.
  const bool can_share = engine.config().rope.scaling != model::RopeScaling::kDynamic;
  const uint32_t tokens = options.shared_tokens.value_or(engine.model().memory_plan().max_context);
  most_prefix_pages_ = can_share ? tokens / kPageSize : 0;
}

Result<std::unique_ptr<Scheduler>> Scheduler::create(Engine& engine, const SchedulerOptions& options) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(engine, options));
  const uint32_t slots = engine.model().kv_cache().slots();
  scheduler->slots_.resize(slots);
  scheduler->state_.slots = slots;
  CRIA_TRY(scheduler->make_tools());
  scheduler->tell_pages();
  return scheduler;
}

/// What is made of the engine's device.
Status Scheduler::make_tools() {
  CRIA_TRY_ASSIGN(speculation_, Speculation::create(engine_));
  const auto slots = static_cast<uint32_t>(slots_.size());
  const uint32_t draws = speculation_.is_on() ? engine_.model().memory_plan().step_rows : 0;
  CRIA_TRY_ASSIGN(sampler_, TokenSampler::create(engine_.device(), engine_.config().vocab_size, slots, draws));
  CRIA_TRY_ASSIGN(spill_, PageSpill::create(engine_));
  return {};
}

Status Scheduler::check(const Job& job) const {
  CRIA_TRY(validate(job.options.sampling));
  CRIA_TRY(check_biases(job.options.sampling, engine_.config().vocab_size));
  CRIA_TRY(check_tokens(job.prompt, engine_.config().vocab_size));
  const uint32_t context = engine_.max_context();
  if (job.prompt.size() > context) {
    return fail(ErrorCode::kInvalidInput, "the prompt has {} tokens, more than the context of {}",
                with_commas(job.prompt.size()), with_commas(context));
  }
  return {};
}

Result<std::shared_ptr<Ticket>> Scheduler::submit(Job job) {
  CRIA_TRY(check(job));
  auto ticket = std::make_shared<Ticket>(std::move(job));
  {
    const std::scoped_lock lock(mutex_);
    // A free slot counts as a place in the queue: the job will have it before the next step.
    const size_t free_slots = state_.preempted > 0 ? 0 : state_.slots - state_.busy_slots;
    if (is_stopping_ || state_.is_broken || queue_.size() >= options_.max_queue + free_slots) {
      ++state_.refused;
      return nullptr;
    }
    queue_.push_back(ticket);
  }
  wake_.notify_one();
  return ticket;
}

void Scheduler::stop(bool at_once) {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
    stops_at_once_ = stops_at_once_ || at_once;
  }
  wake_.notify_one();
}

SchedulerState Scheduler::state() const {
  const std::scoped_lock lock(mutex_);
  SchedulerState state = state_;
  state.queued = queue_.size();
  return state;
}

bool Scheduler::has_work() const {
  return state_.busy_slots > 0 || !queue_.empty() || !preempted_.empty() || flight_.valid();
}

Status Scheduler::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return has_work() || is_stopping_; });
      if (is_stopping_ && !has_work()) return {};
    }
    drop_cancelled();
    Status status = admit();
    if (status) status = iterate();
    if (!status) CRIA_TRY(recover(status.error()));
    tell_pages();
  }
}

void Scheduler::tell_pages() {
  const model::KvCache& cache = engine_.model().kv_cache();
  const uint32_t busy = busy_pages();
  const std::scoped_lock lock(mutex_);
  state_.memory = engine_.memory();
  state_.pages = cache.max_pages();
  state_.used_pages = cache.used_pages();
  state_.busy_pages = busy;
  state_.preempted = preempted_.size();
  state_.spilled_bytes = spilled_bytes_;
}

/// Ends the jobs that nobody waits for; before a step, so that they cost no more than the one in flight.
void Scheduler::drop_cancelled() {
  std::vector<std::shared_ptr<Ticket>> dropped;
  bool all = false;
  {
    const std::scoped_lock lock(mutex_);
    all = stops_at_once_;
    const auto is_dropped = [&](const auto& ticket) { return all || ticket->is_cancelled(); };
    std::ranges::copy_if(queue_, std::back_inserter(dropped), is_dropped);
    std::erase_if(queue_, is_dropped);
    state_.cancelled += dropped.size();
  }
  for (const auto& ticket : dropped) ticket->end(StopReason::kInterrupted);
  drop_preempted(all);
  for (Slot& slot : slots_) {
    if (slot.ticket && (all || slot.ticket->is_cancelled())) end(slot, StopReason::kInterrupted);
  }
}

/// First come, first served: those that had to give way, then the oldest job, which takes the free slot that holds most
/// of what it begins with.
Status Scheduler::admit() {
  CRIA_TRY(resume());
  while (preempted_.empty() && std::ranges::any_of(slots_, [](const Slot& slot) { return slot.ticket == nullptr; })) {
    std::shared_ptr<Ticket> ticket;
    {
      const std::scoped_lock lock(mutex_);
      if (queue_.empty()) break;
      ticket = std::move(queue_.front());
      queue_.pop_front();
      ++state_.busy_slots;
    }
    // An embedding needs all hidden states, and so all of its prompt is read.
    const std::vector<uint32_t> nothing;
    const uint32_t index = best_slot(ticket->job().embeds ? nothing : ticket->job().prompt);
    admit_to(index, std::move(ticket));
  }
  return {};
}

uint32_t Scheduler::best_slot(const std::vector<uint32_t>& prompt) const {
  uint32_t best = UINT32_MAX;
  uint32_t most = 0;
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].ticket) continue;
    const uint32_t kept = kept_prefix(engine_.config(), slots_[index].tokens, prompt);
    const bool is_older = best != UINT32_MAX && slots_[index].last_used < slots_[best].last_used;
    if (best == UINT32_MAX || kept > most || (kept == most && is_older)) {
      best = index;
      most = kept;
    }
  }
  return best;
}

void Scheduler::admit_to(uint32_t index, std::shared_ptr<Ticket> ticket) {
  Slot& slot = slots_[index];
  slot.ticket = std::move(ticket);
  slot.last_used = ++clock_;
  slot.arrival = ++arrivals_;
  slot.generated = slot.drawn = 0;
  slot.constraint.reset();
  Status status = begin_text(slot, index);
  const GenerateOptions& options = slot.ticket->job().options;
  if (status && options.grammar) {
    auto constraint = constraints_.begin(options.grammar, options.stop_tokens);
    if (constraint) {
      slot.constraint = *std::move(constraint);
    } else {
      status = std::unexpected(std::move(constraint).error());
    }
  }
  if (!status) {
    fail_job(slot, status.error());
  } else if (slot.constraint && slot.constraint->is_complete()) {
    end(slot, StopReason::kEndOfText);  // only the empty text fits
  }
}

/// Keeps what the slot's text and the prompt have in common, but for the part of a page that others hold too.
Status Scheduler::begin_text(Slot& slot, uint32_t index) {
  const std::vector<uint32_t>& prompt = slot.ticket->job().prompt;
  model::KvCache& cache = engine_.model().kv_cache();
  slot.cached = std::min(slot.cached, kept_prefix(engine_.config(), slot.tokens, prompt));
  if (slot.ticket->job().embeds) slot.cached = 0;
  const uint32_t in_page = slot.cached % kPageSize;
  if (in_page != 0 && cache.holders(cache.pages(index)[slot.cached / kPageSize]) > 1) slot.cached -= in_page;
  slot.published = slot.cached / kPageSize;
  slot.tokens = prompt;
  cache.truncate(index, slot.cached);
  slot.ticket->set_kept_tokens(slot.cached);
  {
    const std::scoped_lock lock(mutex_);
    state_.kept_tokens += slot.cached;
    state_.prompt_tokens += prompt.size();
  }
  return begin_sampler(slot, index);
}

/// Tells the drafts that another text has begun, and the sampler what it has not seen: of a prompt that is being read
/// the tokens that are in the cache, of a text that goes on all.
Status Scheduler::begin_sampler(const Slot& slot, uint32_t index) {
  speculation_.begin(index);
  const std::span<const uint32_t> tokens = slot.tokens;
  if (slot.generated == 0) return sampler_.begin(engine_.device(), index, tokens.first(slot.cached));
  const size_t prompt = tokens.size() - slot.generated;
  return sampler_.begin(engine_.device(), index, tokens.first(prompt), tokens.subspan(prompt));
}

/// Takes over pages of another text that begins as this prompt does, where they hold more of it than the slot does.
/// Before each chunk, so that of several prompts that come together one reads what the others wait for.
Status Scheduler::adopt_pages(Slot& slot, uint32_t index) {
  if (slot.ticket->job().embeds || most_prefix_pages_ == 0) return {};
  const std::span<const uint32_t> tokens = slot.tokens;
  const std::vector<uint32_t> pages = prefix_pages_.find(tokens.first(tokens.size() - 1));  // the last one is read
  const auto count = static_cast<uint32_t>(pages.size()) * kPageSize;
  if (count <= slot.cached) return {};
  CRIA_TRY(engine_.model().kv_cache().share(engine_.device(), index, pages));
  if (slot.generated == 0) {
    slot.ticket->set_kept_tokens(slot.ticket->kept_tokens() + count - slot.cached);
    const std::scoped_lock lock(mutex_);
    state_.kept_tokens += count - slot.cached;
    state_.shared_tokens += count - slot.cached;
  }
  slot.cached = count;
  slot.published = static_cast<uint32_t>(pages.size());
  return begin_sampler(slot, index);
}

/// Lets others share the pages that have become full; passes that read them come after the one that writes them.
void Scheduler::publish_pages(Slot& slot) {
  const uint32_t full = slot.cached / kPageSize;
  if (full <= slot.published || most_prefix_pages_ == 0) return;
  const auto index = static_cast<uint32_t>(&slot - slots_.data());
  const std::span<const uint32_t> pages = engine_.model().kv_cache().pages(index);
  prefix_pages_.add(std::span(slot.tokens).first(size_t{full} * kPageSize), pages.first(full));
  slot.published = full;
  while (prefix_pages_.size() > most_prefix_pages_ && prefix_pages_.forget_oldest()) {
  }
}

/// The slot is free; its text stays in the cache for a job that begins with it.
void Scheduler::release(Slot& slot) {
  slot.ticket = nullptr;
  slot.constraint.reset();
  slot.tokens.resize(slot.cached);
  slot.last_used = ++clock_;
}

/// A free slot gives its pages back, and with them its text.
void Scheduler::forget(Slot& slot) {
  engine_.model().kv_cache().truncate(static_cast<uint32_t>(&slot - slots_.data()), 0);
  slot.tokens.clear();
  slot.cached = slot.published = 0;
}

void Scheduler::end(Slot& slot, StopReason reason) {
  const std::shared_ptr<Ticket> ticket = slot.ticket;
  release(slot);
  {
    const std::scoped_lock lock(mutex_);
    --state_.busy_slots;
    ++(reason == StopReason::kInterrupted ? state_.cancelled : state_.finished);
  }
  ticket->end(reason);
}

void Scheduler::fail_job(Slot& slot, const Error& error) {
  const std::shared_ptr<Ticket> ticket = slot.ticket;
  slot.cached = 0;
  engine_.model().kv_cache().truncate(static_cast<uint32_t>(&slot - slots_.data()), 0);
  release(slot);
  {
    const std::scoped_lock lock(mutex_);
    --state_.busy_slots;
    ++state_.failed;
  }
  ticket->fail(error);
}

}  // namespace cria::engine
