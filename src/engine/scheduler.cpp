#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>

namespace cria::engine {

Result<std::unique_ptr<Scheduler>> Scheduler::create(Engine& engine, const SchedulerOptions& options) {
  std::unique_ptr<Scheduler> scheduler(new Scheduler(engine, options));
  gpu::Device& device = engine.device();
  const uint64_t vocab = engine.config().vocab_size;
  const uint32_t slots = engine.model().kv_cache().slots();
  scheduler->slots_.resize(slots);
  scheduler->state_.slots = slots;
  CRIA_TRY_ASSIGN(scheduler->sampler_, kernels::Sampler::create(device, engine.config().vocab_size));
  const auto scratch = [&](std::string_view label, uint64_t bytes) {
    return device.create_buffer(label, bytes, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(scheduler->sampler_rows_, scratch("sampler parameters", slots * sizeof(kernels::SamplerRow)));
  CRIA_TRY_ASSIGN(scheduler->seen_, scratch("token counts", slots * vocab * 4));
  CRIA_TRY_ASSIGN(scheduler->results_, scratch("sampled tokens", slots * sizeof(kernels::SampledToken)));
  return scheduler;
}

Status Scheduler::check(const Job& job) const {
  CRIA_TRY(validate(job.options.sampling));
  if (job.prompt.empty()) return fail(ErrorCode::kInvalidInput, "the prompt is empty: there is nothing to continue");
  for (const uint32_t token : job.prompt) {
    if (token >= engine_.config().vocab_size) {
      return fail(ErrorCode::kInvalidInput, "the prompt holds the token {}, outside the vocabulary of {} tokens", token,
                  engine_.config().vocab_size);
    }
  }
  const uint32_t context = engine_.model().memory_plan().max_context;
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
    const size_t free_slots = state_.slots - state_.busy_slots;
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

void Scheduler::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const auto has_work = [&] { return state_.busy_slots > 0 || !queue_.empty() || flight_.valid(); };
      wake_.wait(lock, [&] { return has_work() || is_stopping_; });
      if (is_stopping_ && !has_work()) return;
    }
    drop_cancelled();
    admit();
    if (const Status status = iterate(); !status) fail_all(status.error());
  }
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
  for (Slot& slot : slots_) {
    if (slot.ticket && (all || slot.ticket->is_cancelled())) end(slot, StopReason::kInterrupted);
  }
}

/// First come, first served: the oldest job takes the free slot that holds most of what it begins with.
void Scheduler::admit() {
  while (std::ranges::any_of(slots_, [](const Slot& slot) { return slot.ticket == nullptr; })) {
    std::shared_ptr<Ticket> ticket;
    {
      const std::scoped_lock lock(mutex_);
      if (queue_.empty()) return;
      ticket = std::move(queue_.front());
      queue_.pop_front();
      ++state_.busy_slots;
    }
    const uint32_t index = best_slot(ticket->job().prompt);
    admit_to(index, std::move(ticket));
  }
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
  slot.generated = slot.drawn = 0;
  if (const Status status = begin_text(slot, index); !status) fail_job(slot, status.error());
}

/// Keeps what the slot's text and the prompt have in common, and counts its tokens for the repetition penalty.
Status Scheduler::begin_text(Slot& slot, uint32_t index) {
  const std::vector<uint32_t>& prompt = slot.ticket->job().prompt;
  slot.cached = std::min(slot.cached, kept_prefix(engine_.config(), slot.tokens, prompt));
  slot.tokens = prompt;
  engine_.model().kv_cache().truncate(index, slot.cached);
  slot.ticket->set_kept_tokens(slot.cached);
  {
    const std::scoped_lock lock(mutex_);
    state_.kept_tokens += slot.cached;
    state_.prompt_tokens += prompt.size();
  }
  std::vector<uint32_t> counts(engine_.config().vocab_size);
  for (uint32_t i = 0; i < slot.cached; ++i) ++counts[prompt[i]];
  return engine_.device().write(seen_, uint64_t{index} * counts.size() * 4, std::as_bytes(std::span(counts)));
}

/// One chunk of a prompt, where there is one, then a step for all texts that are being generated.
Status Scheduler::iterate() {
  for (uint32_t turn = 0; turn < slots_.size(); ++turn) {
    const uint32_t index = (next_prompt_ + turn) % static_cast<uint32_t>(slots_.size());
    const Slot& slot = slots_[index];
    if (!slot.ticket || slot.generated > 0) continue;
    next_prompt_ = index + 1;
    CRIA_TRY(collect(std::exchange(flight_, {})));
    if (slot.ticket) CRIA_TRY(read_chunk(index));
    break;
  }
  return decode();
}

/// Makes room for positions of a slot, at the cost of texts that only wait to be used again.
Status Scheduler::reserve(uint32_t index, uint32_t positions) {
  for (;;) {
    const Status status = engine_.model().kv_cache().reserve(engine_.device(), index, positions);
    if (status || status.error().code() != ErrorCode::kOutOfMemory) return status;
    Slot* oldest = nullptr;
    for (Slot& slot : slots_) {
      const bool waits = !slot.ticket && slot.cached > 0;
      if (waits && (oldest == nullptr || slot.last_used < oldest->last_used)) oldest = &slot;
    }
    if (oldest == nullptr) return status;
    engine_.model().kv_cache().truncate(static_cast<uint32_t>(oldest - slots_.data()), 0);
    oldest->tokens.clear();
    oldest->cached = 0;
  }
}

Status Scheduler::read_chunk(uint32_t index) {
  Slot& slot = slots_[index];
  gpu::Device& device = engine_.device();
  model::Model& model = engine_.model();
  const auto length = static_cast<uint32_t>(slot.tokens.size());
  if (slot.ticket->job().options.max_tokens == 0) {
    end(slot, StopReason::kMaxTokens);
    return {};
  }
  if (const Status status = reserve(index, length); !status) {
    if (status.error().code() != ErrorCode::kOutOfMemory) return status;
    fail_job(slot, status.error());
    return {};
  }
  const uint32_t position = slot.cached;
  const uint32_t count = std::min({engine_.pass_size().tokens(position), options_.chunk_tokens, length - position});
  model::Batch batch;
  batch.tokens.assign(slot.tokens.begin() + slot.cached, slot.tokens.begin() + slot.cached + count);
  batch.positions.resize(count);
  std::iota(batch.positions.begin(), batch.positions.end(), slot.cached);
  batch.slots.assign(count, index);
  batch.rope_length = length;
  const bool is_last = slot.cached + count == length;
  if (is_last) batch.output_rows = {count - 1};
  gpu::Recorder recorder = device.record("prefill");
  CRIA_TRY(model.forward(device, recorder, batch));
  sampler_.record_count(recorder, model.tokens(), 0, count, index, seen_);
  slot.cached += count;
  if (!is_last) {
    const auto start = std::chrono::steady_clock::now();
    CRIA_TRY(recorder.submit());
    CRIA_TRY(device.wait_idle());  // bounds what is in flight
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    engine_.pass_size().observe(count, position, taken.count());
    return {};
  }
  Flight flight{.slots = {index}, .tickets = {slot.ticket}, .results = {}};
  CRIA_TRY(submit_draws(recorder, flight));
  return collect(std::move(flight));
}

/// Slots whose last token is known and not yet read by the model.
std::vector<uint32_t> Scheduler::decoding() const {
  std::vector<uint32_t> rows;
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].ticket && slots_[index].generated > 0) rows.push_back(index);
  }
  return rows;
}

Status Scheduler::decode() {
  if (!flight_.valid()) {
    std::vector<uint32_t> rows;
    std::vector<uint32_t> tokens;
    for (const uint32_t index : decoding()) {
      Slot& slot = slots_[index];
      const Status status = reserve(index, static_cast<uint32_t>(slot.tokens.size()));
      if (!status) {
        if (status.error().code() != ErrorCode::kOutOfMemory) return status;
        end(slot, StopReason::kContextFull);
        continue;
      }
      rows.push_back(index);
      tokens.push_back(slot.tokens.back());
    }
    // Dynamic RoPE turns every text by its own length, and a pass knows one.
    const bool is_alone = engine_.config().rope.scaling == model::RopeScaling::kDynamic;
    for (size_t row = 0; is_alone && row + 1 < rows.size(); ++row) {
      CRIA_TRY_ASSIGN(Flight single, launch({rows[row]}, {tokens[row]}, false));
      CRIA_TRY(collect(std::move(single)));
    }
    if (is_alone && rows.size() > 1) {
      rows = {rows.back()};
      tokens = {tokens.back()};
    }
    if (rows.empty()) return {};
    CRIA_TRY_ASSIGN(flight_, launch(rows, tokens, false));
  }
  Flight ahead;
  if (can_look_ahead()) {
    CRIA_TRY_ASSIGN(ahead, launch(flight_.slots, {}, true));
  }
  CRIA_TRY(collect(std::exchange(flight_, std::move(ahead))));
  return {};
}

/// Whether the step behind the one in flight can begin before its tokens are known: for the same texts, all of which
/// go on, and nobody else who wants to join.
bool Scheduler::can_look_ahead() const {
  {
    const std::scoped_lock lock(mutex_);
    if (!queue_.empty() || stops_at_once_) return false;
  }
  if (flight_.slots != decoding()) return false;
  const uint32_t context = engine_.model().memory_plan().max_context;
  for (size_t row = 0; row < flight_.slots.size(); ++row) {
    const Slot& slot = slots_[flight_.slots[row]];
    if (slot.ticket != flight_.tickets[row] || slot.ticket->is_cancelled()) return false;
    if (slot.generated + 1 >= slot.ticket->job().options.max_tokens || slot.tokens.size() >= context) return false;
  }
  return std::ranges::none_of(slots_, [](const Slot& slot) { return slot.ticket && slot.generated == 0; });
}

/// Begins a step for these slots. `tokens` are their last ones; ahead, they are still on the GPU.
Result<Scheduler::Flight> Scheduler::launch(const std::vector<uint32_t>& slots, const std::vector<uint32_t>& tokens,
                                            bool is_ahead) {
  gpu::Device& device = engine_.device();
  model::Model& model = engine_.model();
  Flight flight;
  model::Batch batch;
  batch.tokens = tokens;
  batch.slots = slots;
  for (const uint32_t index : slots) {
    Slot& slot = slots_[index];
    const auto position = static_cast<uint32_t>(slot.tokens.size()) - (is_ahead ? 0 : 1);
    if (is_ahead && !reserve(index, position + 1)) return Flight{};  // the step as it is will tell
    batch.positions.push_back(position);
    batch.output_rows.push_back(static_cast<uint32_t>(batch.output_rows.size()));
    batch.rope_length = position + 1;
    flight.tickets.push_back(slot.ticket);
  }
  flight.slots = slots;
  gpu::Recorder recorder = device.record("decode");
  CRIA_TRY(model.forward(device, recorder, batch));
  CRIA_TRY(submit_draws(recorder, flight));
  const std::scoped_lock lock(mutex_);
  ++state_.steps;
  return flight;
}

Status Scheduler::submit_draws(gpu::Recorder& recorder, Flight& flight) {
  std::vector<kernels::SamplerRow> rows;
  bool is_greedy = true;
  for (uint32_t row = 0; row < flight.slots.size(); ++row) {
    Slot& slot = slots_[flight.slots[row]];
    kernels::SamplerRow settings = sampler_row(slot.ticket->job().options.sampling, slot.drawn++, flight.slots[row]);
    settings.logits_row = settings.token_index = row;
    is_greedy = is_greedy && settings.temperature == 0;
    rows.push_back(settings);
  }
  const auto count = static_cast<uint32_t>(rows.size());
  CRIA_TRY(engine_.device().write(sampler_rows_, 0, std::as_bytes(std::span(rows))));
  sampler_.record(recorder, engine_.model().logits(), sampler_rows_, seen_, engine_.model().tokens(), results_, count,
                  is_greedy);
  CRIA_TRY_ASSIGN(flight.results, recorder.read(results_, 0, count * sizeof(kernels::SampledToken)));
  return recorder.submit();
}

/// Waits for a step's tokens and hands them out.
Status Scheduler::collect(Flight flight) {
  if (!flight.valid()) return {};
  CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, flight.results.wait());
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), words.size() * 4);
  for (size_t row = 0; row < flight.slots.size(); ++row) {
    Slot& slot = slots_[flight.slots[row]];
    if (slot.ticket != flight.tickets[row] || !slot.ticket) continue;  // it ended meanwhile
    take(slot, words[2 * row], words[2 * row + 1]);
  }
  return {};
}

void Scheduler::take(Slot& slot, uint32_t token, uint32_t status) {
  slot.cached = static_cast<uint32_t>(slot.tokens.size());
  const GenerateOptions& options = slot.ticket->job().options;
  if (status != 0) {
    fail_job(slot, Error(ErrorCode::kNotFinite,
                         fmt::format("the model produced NaN or infinite logits at position {}", slot.tokens.size())));
    return;
  }
  if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) {
    end(slot, StopReason::kEndOfText);
    return;
  }
  slot.tokens.push_back(token);
  ++slot.generated;
  {
    const std::scoped_lock lock(mutex_);
    ++state_.generated_tokens;
  }
  slot.ticket->add(token);
  if (slot.generated >= options.max_tokens) {
    end(slot, StopReason::kMaxTokens);
  } else if (slot.tokens.size() > engine_.model().memory_plan().max_context) {
    end(slot, StopReason::kContextFull);
  } else if (slot.ticket->is_cancelled()) {
    end(slot, StopReason::kInterrupted);
  }
}

/// The slot is free; its text stays in the cache for a job that begins with it.
void Scheduler::release(Slot& slot) {
  slot.ticket = nullptr;
  slot.tokens.resize(slot.cached);
  slot.last_used = ++clock_;
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

/// The device does not answer: all jobs end with its error, and no more are taken.
void Scheduler::fail_all(const Error& error) {
  flight_ = {};
  std::deque<std::shared_ptr<Ticket>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    waiting = std::exchange(queue_, {});
    state_.is_broken = true;
    state_.failed += waiting.size();
  }
  for (Slot& slot : slots_) {
    if (slot.ticket) fail_job(slot, error);
  }
  for (const auto& ticket : waiting) ticket->fail(error);
}

}  // namespace cria::engine
