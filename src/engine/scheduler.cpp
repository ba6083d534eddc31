#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace cria::engine {

using kernels::kPageSize;

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), options_(options), prefix_pages_(engine.model().kv_cache()) {
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
  CRIA_TRY_ASSIGN(scheduler->sampler_, TokenSampler::create(engine.device(), engine.config().vocab_size, slots));
  return scheduler;
}

Status Scheduler::check(const Job& job) const {
  CRIA_TRY(validate(job.options.sampling));
  CRIA_TRY(check_biases(job.options.sampling, engine_.config().vocab_size));
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
    // An embedding needs all hidden states, and so all of its prompt is read.
    const std::vector<uint32_t> nothing;
    const uint32_t index = best_slot(ticket->job().embeds ? nothing : ticket->job().prompt);
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
  return sampler_.begin(engine_.device(), index, std::span(prompt).first(slot.cached));
}

/// Takes over pages of another text that begins as this prompt does, where they hold more of it than the slot does.
/// Before each chunk, so that of several prompts that come together one reads what the others wait for.
Status Scheduler::adopt_pages(Slot& slot, uint32_t index) {
  if (slot.ticket->job().embeds || most_prefix_pages_ == 0) return {};
  const std::span<const uint32_t> prompt = slot.tokens;
  const std::vector<uint32_t> pages = prefix_pages_.find(prompt.first(prompt.size() - 1));  // the last one is read
  const auto count = static_cast<uint32_t>(pages.size()) * kPageSize;
  if (count <= slot.cached) return {};
  CRIA_TRY(engine_.model().kv_cache().share(engine_.device(), index, pages));
  slot.ticket->set_kept_tokens(slot.ticket->kept_tokens() + count - slot.cached);
  {
    const std::scoped_lock lock(mutex_);
    state_.kept_tokens += count - slot.cached;
    state_.shared_tokens += count - slot.cached;
  }
  slot.cached = count;
  slot.published = static_cast<uint32_t>(pages.size());
  return sampler_.begin(engine_.device(), index, prompt.first(count));
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

/// Makes room for positions of a slot, at the cost of pages and texts that only wait to be used again.
Status Scheduler::reserve(uint32_t index, uint32_t positions) {
  for (;;) {
    const Status status = engine_.model().kv_cache().reserve(engine_.device(), index, positions);
    if (status || status.error().code() != ErrorCode::kOutOfMemory) return status;
    if (prefix_pages_.forget_oldest()) continue;
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
  const bool embeds = slot.ticket->job().embeds;
  if (slot.ticket->job().options.max_tokens == 0 && !embeds) {
    end(slot, StopReason::kMaxTokens);
    return {};
  }
  CRIA_TRY(adopt_pages(slot, index));
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
  if (is_last && !embeds) batch.output_rows = {count - 1};
  batch.sums_hidden = embeds;
  gpu::Recorder recorder = device.record("prefill");
  CRIA_TRY(model.forward(device, recorder, batch));
  sampler_.record_prompt(recorder, model, count, index);
  slot.cached += count;
  publish_pages(slot);
  if (is_last && embeds) {
    const uint64_t row_bytes = uint64_t{model.hidden_sums().stride()} * 4;
    CRIA_TRY_ASSIGN(gpu::PendingRead sums, recorder.read(model.hidden_sums().buffer, index * row_bytes,
                                                         uint64_t{model.hidden_sums().columns} * 4));
    CRIA_TRY(recorder.submit());
    return finish_embedding(slot, std::move(sums));
  }
  if (!is_last) return engine_.run_pass(recorder, count, position);
  Flight flight{.slots = {index}, .tickets = {slot.ticket}, .results = {}, .logits = {}};
  CRIA_TRY(submit_draws(recorder, flight));
  return collect(std::move(flight));
}

/// The direction of the mean is that of the sum: scaled to length 1, they are the same.
Status Scheduler::finish_embedding(Slot& slot, gpu::PendingRead sums) {
  CRIA_TRY_ASSIGN(std::vector<float> embedding, sums.values<float>());
  double square = 0;
  for (const float value : embedding) square += double{value} * double{value};
  if (!std::isfinite(square) || square == 0) {
    fail_job(slot, Error(ErrorCode::kNotFinite,
                         "the model's hidden states are NaN, infinite or all 0: there is no embedding of this text"));
    return {};
  }
  for (float& value : embedding) value = static_cast<float>(value / std::sqrt(square));
  slot.ticket->set_embedding(std::move(embedding));
  end(slot, StopReason::kEndOfText);
  return {};
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
  const kernels::Activation& logits = engine_.model().logits();
  std::vector<TokenSampler::Draw> draws;
  for (uint32_t row = 0; row < flight.slots.size(); ++row) {
    Slot& slot = slots_[flight.slots[row]];
    const Job& job = slot.ticket->job();
    draws.push_back({.params = &job.options.sampling, .step = slot.drawn++, .slot = flight.slots[row]});
    gpu::PendingRead& read = flight.logits.emplace_back();
    if (!job.top_logprobs) continue;
    // Copied before biases change them.
    CRIA_TRY_ASSIGN(read, recorder.read(logits.buffer, uint64_t{row} * logits.stride() * 4, logits.columns * 4ULL));
  }
  CRIA_TRY_ASSIGN(flight.results, sampler_.record(engine_.device(), recorder, engine_.model(), draws));
  return recorder.submit();
}

/// Waits for a step's tokens and hands them out.
Status Scheduler::collect(Flight flight) {
  if (!flight.valid()) return {};
  CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, flight.results.values<kernels::SampledToken>());
  for (size_t row = 0; row < flight.slots.size(); ++row) {
    Slot& slot = slots_[flight.slots[row]];
    if (slot.ticket != flight.tickets[row] || !slot.ticket) continue;  // it ended meanwhile
    std::optional<TokenLogprobs> logprobs;
    if (flight.logits[row].valid() && sampled[row].status == kernels::SamplerStatus::kOk) {
      CRIA_TRY_ASSIGN(const std::vector<float> logits, flight.logits[row].values<float>());
      logprobs = token_logprobs(logits, sampled[row].token, *slot.ticket->job().top_logprobs);
    }
    take(slot, sampled[row], std::move(logprobs));
  }
  return {};
}

void Scheduler::take(Slot& slot, kernels::SampledToken sampled, std::optional<TokenLogprobs> logprobs) {
  slot.cached = static_cast<uint32_t>(slot.tokens.size());
  const GenerateOptions& options = slot.ticket->job().options;
  const uint32_t token = sampled.token;
  if (sampled.status != kernels::SamplerStatus::kOk) {
    fail_job(slot, Error(ErrorCode::kNotFinite,
                         fmt::format("the model produced NaN or infinite logits at position {}", slot.tokens.size())));
    return;
  }
  publish_pages(slot);
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
  slot.ticket->add(token, std::move(logprobs));
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
