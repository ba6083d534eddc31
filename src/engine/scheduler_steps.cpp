// The scheduler's passes of the model: chunks of prompts, and steps for all texts that are being generated.
#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/scheduler.h"

namespace cria::engine {
namespace {

/// Texts up to this length take their steps in the passes of others' prompts. Attention of such a pass reads all keys
/// of a text in one go, where a step of its own reads them in parallel.
constexpr uint32_t kJoiningContext = 2048;
/// However many texts are being generated, prompts are read by at least so many tokens.
constexpr uint32_t kMinChunk = 32;

}  // namespace

/// One chunk of a prompt, where there is one, and a step for all texts that are being generated: in the same pass where
/// that may be, else in one of its own.
Status Scheduler::iterate() {
  for (uint32_t turn = 0; turn < slots_.size(); ++turn) {
    const uint32_t index = (next_prompt_ + turn) % static_cast<uint32_t>(slots_.size());
    const Slot& slot = slots_[index];
    if (!slot.is_reading()) continue;
    next_prompt_ = index + 1;
    CRIA_TRY(collect(std::exchange(flight_, {})));
    if (slot.is_reading()) CRIA_TRY(read_chunk(index));
    break;
  }
  return decode();
}

/// Makes room for a text that is being read, and for the next tokens of the others. False where it ended meanwhile, or
/// had to give way.
Result<bool> Scheduler::make_room_to_read(Slot& slot, uint32_t index) {
  CRIA_TRY(adopt_pages(slot, index));
  if (!slot.is_reading()) return false;
  const Result<bool> has_room = make_room(index, slot.to_read());
  if (!has_room) {
    if (has_room.error().code() != ErrorCode::kOutOfMemory) return std::unexpected(has_room.error());
    fail_job(slot, has_room.error());
  }
  if (!has_room || !*has_room) return false;
  if (slot.ticket->job().embeds) return true;
  CRIA_TRY(make_room_for_step());
  return slot.is_reading();
}

/// How many tokens of a text are read next, in a pass that so many others share.
uint32_t Scheduler::chunk_tokens(const Slot& slot, uint32_t others) const {
  uint32_t chunk = engine_.model().max_batch_tokens();  // where nobody has to wait
  if (others > 0) {
    chunk = std::min(chunk, std::max(options_.chunk_tokens, others + kMinChunk)) - others;
  } else if (!decoding().empty()) {
    chunk = options_.chunk_tokens;
  }
  return std::min({engine_.pass_size().tokens(slot.cached), chunk, slot.to_read() - slot.cached});
}

Status Scheduler::read_chunk(uint32_t index) {
  Slot& slot = slots_[index];
  const bool embeds = slot.ticket->job().embeds;
  if (slot.ticket->job().options.max_tokens == 0 && !embeds) {
    end(slot, StopReason::kMaxTokens);
    return {};
  }
  CRIA_TRY_ASSIGN(const bool has_room, make_room_to_read(slot, index));
  if (!has_room) return {};
  const std::vector<uint32_t> others = embeds ? std::vector<uint32_t>() : joining(slot);
  const uint32_t length = slot.to_read();
  const uint32_t position = slot.cached;
  const uint32_t count = chunk_tokens(slot, static_cast<uint32_t>(others.size()));
  const bool is_last = position + count == length && slot.generated == 0;
  auto batch = model::Batch::of(index, position, count);
  batch.tokens.assign(slot.tokens.begin() + position, slot.tokens.begin() + position + count);
  batch.rope_length = length;
  batch.sums_hidden = embeds;
  Flight flight;
  if (is_last && !embeds) {
    batch.output_rows = {count - 1};
    flight.rows = {{.slot = index, .ticket = slot.ticket, .position = length - 1}};
  }
  for (const uint32_t other : others) {
    const Slot& text = slots_[other];
    batch.tokens.push_back(text.tokens.back());
    add_row(other, static_cast<uint32_t>(text.tokens.size()) - 1, batch, flight);
  }
  model::Model& model = engine_.model();
  gpu::Recorder recorder = engine_.device().record("prefill");
  CRIA_TRY(model.forward(engine_.device(), recorder, batch));
  if (slot.generated == 0) sampler_.record_prompt(recorder, model, count, index);
  slot.cached += count;
  publish_pages(slot);
  if (is_last && embeds) return finish_embedding(slot, index, recorder);
  if (!flight.valid()) return engine_.run_pass(recorder, count, position);
  flight.chunk = {.tokens = count, .position = position, .begun = Clock::now()};
  CRIA_TRY(submit_draws(recorder, flight));
  if (others.empty()) return collect(std::move(flight));
  flight_ = std::move(flight);
  count_step();
  return {};
}

void Scheduler::count_step() {
  const std::scoped_lock lock(mutex_);
  ++state_.steps;
}

/// The texts whose next step is taken in the same pass as a chunk of the prompt that is being read: the weights are
/// read once for both, and nobody waits for two passes. All that are being generated, or none.
std::vector<uint32_t> Scheduler::joining(const Slot& reading) const {
  std::vector<uint32_t> rows = decoding();
  // Dynamic RoPE turns every text by its own length, and a pass knows one.
  if (engine_.config().rope.scaling == model::RopeScaling::kDynamic) return {};
  if (rows.size() + kMinChunk > engine_.model().max_batch_tokens()) return {};
  const auto is_long = [&](const Slot& text) { return text.tokens.size() > kJoiningContext; };
  if (is_long(reading) || std::ranges::any_of(rows, [&](uint32_t index) { return is_long(slots_[index]); })) return {};
  return rows;
}

/// The direction of the mean is that of the sum: scaled to length 1, they are the same.
Status Scheduler::finish_embedding(Slot& slot, uint32_t index, gpu::Recorder& recorder) {
  const kernels::Activation& hidden = engine_.model().hidden_sums();
  const uint64_t row_bytes = uint64_t{hidden.stride()} * 4;
  CRIA_TRY_ASSIGN(gpu::PendingRead sums, recorder.read(hidden.buffer, index * row_bytes, uint64_t{hidden.columns} * 4));
  CRIA_TRY(recorder.submit());
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

/// Slots whose last token is known, and the only one that the model has not read.
std::vector<uint32_t> Scheduler::decoding() const {
  std::vector<uint32_t> rows;
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].ticket && !slots_[index].is_reading()) rows.push_back(index);
  }
  return rows;
}

/// Makes room for the next token of each, first come, first served: who came last may have to give way.
Status Scheduler::make_room_for_step() {
  std::vector<uint32_t> rows = decoding();
  std::ranges::sort(rows, {}, [&](uint32_t index) { return slots_[index].arrival; });
  for (const uint32_t index : rows) {
    Slot& slot = slots_[index];
    if (!slot.ticket) continue;  // it had to
    const Result<bool> has_room = make_room(index, static_cast<uint32_t>(slot.tokens.size()));
    if (has_room) continue;
    if (has_room.error().code() != ErrorCode::kOutOfMemory) return std::unexpected(has_room.error());
    end(slot, StopReason::kContextFull);
  }
  return {};
}

Status Scheduler::decode() {
  if (!flight_.valid()) {
    CRIA_TRY(make_room_for_step());
    std::vector<uint32_t> rows = decoding();
    // Dynamic RoPE turns every text by its own length, and a pass knows one.
    const bool is_alone = engine_.config().rope.scaling == model::RopeScaling::kDynamic;
    for (; is_alone && rows.size() > 1; rows.erase(rows.begin())) {
      CRIA_TRY_ASSIGN(Flight single, launch({rows.front()}, false));
      CRIA_TRY(collect(std::move(single)));
    }
    if (rows.empty()) return {};
    CRIA_TRY_ASSIGN(const bool is_verified, verify_drafts(rows));
    if (is_verified) return {};
    CRIA_TRY_ASSIGN(flight_, launch(rows, false));
  }
  Flight ahead;
  flight_.is_followed = can_look_ahead();
  if (flight_.is_followed && !speculation_.expects_drafts(draftable(flight_.slots()))) {
    CRIA_TRY_ASSIGN(ahead, launch(flight_.slots(), true));
  }
  CRIA_TRY(collect(std::exchange(flight_, std::move(ahead))));
  return draw_late(flight_);
}

/// Whether the step behind the one in flight can begin before its tokens are known: for the same texts, all of which
/// go on, and nobody else who wants to join.
bool Scheduler::can_look_ahead() const {
  {
    const std::scoped_lock lock(mutex_);
    if (!queue_.empty() || stops_at_once_) return false;
  }
  if (flight_.slots() != decoding()) return false;
  const uint32_t context = engine_.max_context();
  for (const Row& row : flight_.rows) {
    const Slot& slot = slots_[row.slot];
    if (slot.ticket != row.ticket || slot.ticket->is_cancelled()) return false;
    if (slot.generated + 1 >= slot.ticket->job().options.max_tokens || slot.tokens.size() >= context) return false;
  }
  return std::ranges::none_of(slots_, &Slot::is_reading);
}

/// The texts in these slots, and how many tokens may be drafted behind each: none with a grammar, whose masks need the
/// tokens before.
std::vector<Speculation::Text> Scheduler::draftable(const std::vector<uint32_t>& rows) const {
  const uint32_t context = engine_.max_context();
  std::vector<Speculation::Text> texts;
  for (const uint32_t index : rows) {
    const Slot& slot = slots_[index];
    const auto length = static_cast<uint32_t>(slot.tokens.size());
    const uint32_t left = slot.ticket->job().options.max_tokens - slot.generated;
    const uint32_t room = std::min(context - std::min(length, context), left - 1);
    texts.push_back({.slot = index,
                     .tokens = slot.tokens,
                     .most = slot.constraint ? 0 : room,
                     .params = &slot.ticket->job().options.sampling,
                     .step = slot.drawn});
  }
  return texts;
}

/// A step of these slots that draws at drafted tokens too, where some are expected to come true. False where there are
/// none. A draft for which there are no pages is left out.
Result<bool> Scheduler::verify_drafts(const std::vector<uint32_t>& rows) {
  if (!speculation_.is_on()) return false;
  CRIA_TRY_ASSIGN(std::vector<std::vector<uint32_t>> drafts, speculation_.draft(draftable(rows)));
  model::Batch batch;
  Flight flight;
  bool has_drafts = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Slot& slot = slots_[rows[i]];
    std::vector<uint32_t>& draft = drafts[i];
    const auto length = static_cast<uint32_t>(slot.tokens.size());
    if (!draft.empty() && !reserve(rows[i], length + static_cast<uint32_t>(draft.size()))) draft.clear();
    batch.tokens.push_back(slot.tokens.back());
    add_row(rows[i], length - 1, batch, flight);
    for (uint32_t count = 1; count <= draft.size(); ++count) {
      batch.tokens.push_back(draft[count - 1]);
      add_row(rows[i], length - 1 + count, batch, flight, {draft.begin(), draft.begin() + count});
    }
    batch.rope_length = std::max(batch.rope_length, length + static_cast<uint32_t>(draft.size()));
    has_drafts = has_drafts || !draft.empty();
  }
  if (!has_drafts) return false;
  gpu::Recorder recorder = engine_.device().record("verify");
  CRIA_TRY(engine_.model().forward(engine_.device(), recorder, batch));
  CRIA_TRY(submit_draws(recorder, flight));
  count_step();
  CRIA_TRY(collect(std::move(flight)));
  return true;
}

/// Adds a text's next step to a pass; its token is the caller's to add, where it is known.
void Scheduler::add_row(uint32_t index, uint32_t position, model::Batch& batch, Flight& flight,
                        std::vector<uint32_t> drafted) const {
  batch.output_rows.push_back(static_cast<uint32_t>(batch.positions.size()));
  batch.positions.push_back(position);
  batch.slots.push_back(index);
  flight.rows.push_back(
      {.slot = index, .ticket = slots_[index].ticket, .position = position, .drafted = std::move(drafted)});
}

std::vector<uint32_t> Scheduler::Flight::slots() const {
  std::vector<uint32_t> slots;
  slots.reserve(rows.size());
  for (const Row& row : rows) slots.push_back(row.slot);
  return slots;
}

/// Begins a step for these slots: behind their last tokens or, ahead, behind those that are still on the GPU.
Result<Scheduler::Flight> Scheduler::launch(const std::vector<uint32_t>& slots, bool is_ahead) {
  gpu::Device& device = engine_.device();
  model::Model& model = engine_.model();
  Flight flight;
  flight.is_ahead = is_ahead;
  model::Batch batch;
  for (const uint32_t index : slots) {
    const Slot& slot = slots_[index];
    const auto position = static_cast<uint32_t>(slot.tokens.size()) - (is_ahead ? 0 : 1);
    if (is_ahead && !reserve(index, position + 1)) return Flight{};  // the step as it is will tell
    if (!is_ahead) batch.tokens.push_back(slot.tokens.back());
    add_row(index, position, batch, flight);
    batch.rope_length = position + 1;
  }
  gpu::Recorder recorder = device.record("decode");
  CRIA_TRY(model.forward(device, recorder, batch));
  const auto follows = [&](uint32_t index) { return slots_[index].constraint.has_value(); };
  if (is_ahead && std::ranges::any_of(slots, follows)) {
    flight.is_drawn = false;  // what may be drawn is not known before the tokens are
    CRIA_TRY(recorder.submit());
  } else {
    CRIA_TRY(submit_draws(recorder, flight));
  }
  count_step();
  return flight;
}

/// Submits the draws of a step that waited for the tokens before it, unless none of its texts goes on.
Status Scheduler::draw_late(Flight& flight) {
  if (!flight.valid() || flight.is_drawn) return {};
  if (std::ranges::none_of(flight.rows, [&](const Row& row) { return slots_[row.slot].ticket == row.ticket; })) {
    flight = {};
    return {};
  }
  gpu::Recorder recorder = engine_.device().record("draw");
  flight.is_drawn = true;
  return submit_draws(recorder, flight);
}

Status Scheduler::submit_draws(gpu::Recorder& recorder, Flight& flight) {
  const kernels::Activation& logits = engine_.model().logits();
  std::vector<TokenSampler::Draw> draws;
  for (uint32_t index = 0; index < flight.rows.size(); ++index) {
    const Row& row = flight.rows[index];
    Slot& slot = slots_[row.slot];
    const Job& job = row.ticket->job();
    // A draw at a drafted token counts when it is taken.
    const auto supposed = static_cast<uint32_t>(row.drafted.size());
    const uint32_t step = supposed > 0 ? slot.drawn - 1 + supposed : slot.drawn++;
    draws.push_back({.params = &job.options.sampling, .step = step, .slot = row.slot, .drafted = row.drafted});
    if (slot.ticket == row.ticket && slot.constraint) draws.back().mask = slot.constraint->mask();
    gpu::PendingRead& read = flight.logits.emplace_back();
    if (!job.top_logprobs) continue;
    // Copied before biases change them.
    CRIA_TRY_ASSIGN(read, recorder.read(logits.buffer, uint64_t{index} * logits.stride() * 4, logits.columns * 4ULL));
  }
  CRIA_TRY_ASSIGN(flight.results, sampler_.record(engine_.device(), recorder, engine_.model(), draws));
  return recorder.submit();
}

/// Waits for a step's tokens and hands them out.
Status Scheduler::collect(Flight flight) {
  if (!flight.valid()) return {};
  CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, flight.results.values<kernels::SampledToken>());
  observe(flight);
  for (size_t begin = 0, end = 0; begin < flight.rows.size(); begin = end) {
    const Row& own = flight.rows[begin];
    while (end < flight.rows.size() && flight.rows[end].slot == own.slot) ++end;
    const auto drafted = static_cast<uint32_t>(end - begin - 1);
    if (drafted > 0) count_drafts(*own.ticket, drafted, 0);
    uint32_t accepted = 0;
    for (size_t index = begin; index < end && is_next(flight.rows[index]); ++index) {
      if (index > begin) {
        ++accepted;
        ++slots_[own.slot].drawn;
        count_drafts(*own.ticket, 0, 1);
        sampler_.keep(own.ticket->job().options.sampling, own.slot, sampled[index].token);
      }
      CRIA_TRY(take_row(flight, index, sampled[index]));
    }
    if (drafted > 0) speculation_.observe_draft(own.slot, drafted, accepted);
  }
  return {};
}

/// Before the tokens are handed out, since whoever waits for the last one asks then.
void Scheduler::count_drafts(Ticket& ticket, uint32_t drafted, uint32_t accepted) {
  ticket.count_drafts(drafted, accepted);
  const std::scoped_lock lock(mutex_);
  state_.drafted_tokens += drafted;
  state_.accepted_tokens += accepted;
}

Status Scheduler::take_row(Flight& flight, size_t index, kernels::SampledToken sampled) {
  Slot& slot = slots_[flight.rows[index].slot];
  std::optional<TokenLogprobs> logprobs;
  if (flight.logits[index].valid() && sampled.status == kernels::SamplerStatus::kOk) {
    CRIA_TRY_ASSIGN(const std::vector<float> logits, flight.logits[index].values<float>());
    logprobs = token_logprobs(logits, sampled.token, *slot.ticket->job().top_logprobs);
  }
  take(slot, sampled, std::move(logprobs));
  return {};
}

/// Whether a row's token is the next one of its text, which has not ended meanwhile: what the row supposes has become
/// true.
bool Scheduler::is_next(const Row& row) const {
  const Slot& slot = slots_[row.slot];
  if (!slot.ticket || slot.ticket != row.ticket) return false;
  if (row.drafted.empty()) return true;
  return slot.tokens.size() == row.position + 1 && slot.tokens.back() == row.drafted.back();
}

/// Learns from what a pass took; of steps from those that are as fast as steps are now, one begun ahead of the other
/// or, where that cannot be, one after the other.
void Scheduler::observe(const Flight& flight) {
  const auto now = Clock::now();
  const auto since = [&](Clock::time_point start) { return std::chrono::duration<double>(now - start).count(); };
  const auto rows = static_cast<uint32_t>(flight.rows.size());
  const bool has_drafts = std::ranges::any_of(flight.rows, [](const Row& row) { return !row.drafted.empty(); });
  if (flight.chunk) {
    engine_.observe_pass(flight.chunk->tokens, flight.chunk->position, since(flight.chunk->begun));
  } else if (has_drafts) {
    speculation_.observe_pass(rows, since(flight.begun));
  } else if (flight.is_ahead) {
    speculation_.observe_step(rows, since(arrival_));
  } else if (!flight.is_followed) {
    speculation_.observe_step(rows, since(flight.begun));
  }
  arrival_ = now;
}

void Scheduler::take(Slot& slot, kernels::SampledToken sampled, std::optional<TokenLogprobs> logprobs) {
  slot.cached = static_cast<uint32_t>(slot.tokens.size());
  const GenerateOptions& options = slot.ticket->job().options;
  const Result<uint32_t> drawn = token_of(sampled, slot.tokens.size());
  if (!drawn) return fail_job(slot, drawn.error());
  const uint32_t token = *drawn;
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
  const Status followed = slot.constraint ? slot.constraint->advance(token) : Status();
  if (slot.constraint && slot.constraint->is_complete()) {
    end(slot, StopReason::kEndOfText);
  } else if (slot.generated >= options.max_tokens) {
    end(slot, StopReason::kMaxTokens);
  } else if (slot.tokens.size() > engine_.max_context()) {
    end(slot, StopReason::kContextFull);
  } else if (slot.ticket->is_cancelled()) {
    end(slot, StopReason::kInterrupted);
  } else if (!followed) {
    fail_job(slot, followed.error());
  }
}

}  // namespace cria::engine
