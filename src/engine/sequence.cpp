#include "engine/sequence.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/platform.h"
#include "engine/cache_file.h"

namespace cria::engine {
namespace {

/// Tokens `first` to first + count - 1 of a text in slot 0, which is read as a whole.
model::Batch part_of(const std::vector<uint32_t>& tokens, uint32_t first, uint32_t count) {
  auto batch = model::Batch::of(0, first, count);
  batch.tokens.assign(tokens.begin() + first, tokens.begin() + first + count);
  batch.rope_length = static_cast<uint32_t>(tokens.size());
  return batch;
}

}  // namespace

uint32_t kept_prefix(const model::ModelConfig& config, const std::vector<uint32_t>& held,
                     const std::vector<uint32_t>& wanted) {
  if (config.rope.scaling == model::RopeScaling::kDynamic || wanted.empty()) return 0;
  const auto end = std::ranges::mismatch(held, wanted).in2;
  return static_cast<uint32_t>(std::min<size_t>(static_cast<size_t>(end - wanted.begin()), wanted.size() - 1));
}

Status check_tokens(const std::vector<uint32_t>& prompt, uint32_t vocab_size) {
  if (prompt.empty()) return fail(ErrorCode::kInvalidInput, "the prompt is empty: there is nothing to continue");
  const auto outside = std::ranges::find_if(prompt, [&](uint32_t token) { return token >= vocab_size; });
  if (outside == prompt.end()) return {};
  return fail(ErrorCode::kInvalidInput, "the prompt holds the token {}, outside the vocabulary of {} tokens", *outside,
              vocab_size);
}

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText: return "end of text";
    case StopReason::kStopText: return "stop text";
    case StopReason::kMaxTokens: return "token limit reached";
    case StopReason::kContextFull: return "context full";
    case StopReason::kInterrupted: return "interrupted";
  }
  return "?";
}

void Profile::add(const gpu::SubmissionTimes& times) {
  for (const gpu::KernelTime& time : times.kernels) {
    Kernel& kernel = kernels[time.kernel];
    ++kernel.calls;
    kernel.nanoseconds += time.nanoseconds;
  }
  gpu_nanoseconds += times.total_nanoseconds;
}

double GenerationStats::decode_tokens_per_second() const {
  return decode_seconds > 0 && generated_tokens > 1 ? (generated_tokens - 1) / decode_seconds : 0;
}

double GenerationStats::prefill_tokens_per_second() const {
  return prefill_seconds > 0 ? prompt_tokens / prefill_seconds : 0;
}

Result<Sequence> Sequence::create(Engine& engine) {
  Sequence sequence(engine);
  gpu::Device& device = engine.device();
  CRIA_TRY_ASSIGN(sequence.speculation_, Speculation::create(engine));
  const uint32_t draws = sequence.speculation_.is_on() ? engine.model().memory_plan().step_rows : 0;
  CRIA_TRY_ASSIGN(sequence.sampler_, TokenSampler::create(device, engine.config().vocab_size, 1, draws));
  return sequence;
}

Status Sequence::clear() {
  tokens_.clear();
  cached_ = sampled_ = 0;
  engine_->model().kv_cache().truncate(0, 0);
  return sampler_.begin(engine_->device(), 0, {});
}

Status Sequence::truncate(uint32_t length) {
  if (length >= tokens_.size()) return {};
  if (length == 0) return clear();
  tokens_.resize(length);
  engine_->model().kv_cache().truncate(0, length);
  return settle();
}

Status Sequence::save_cache(const std::filesystem::path& path) const {
  return write_cache(*engine_, 0, std::span(tokens_).first(cached_), path);
}

Status Sequence::load_cache(const std::filesystem::path& path) {
  CRIA_TRY(clear());
  CRIA_TRY_ASSIGN(tokens_, read_cache(*engine_, 0, path));
  cached_ = static_cast<uint32_t>(tokens_.size());
  return settle();
}

Result<uint32_t> Sequence::keep_prefix(const std::vector<uint32_t>& wanted) {
  // What an interruption left unread is part of the text, and not of the cache.
  const uint32_t kept = std::min(kept_prefix(engine_->config(), tokens_, wanted), cached_);
  CRIA_TRY(truncate(kept));
  sampled_ = 0;
  return kept;
}

Status Sequence::check_prompt(const std::vector<uint32_t>& prompt) const {
  CRIA_TRY(check_tokens(prompt, engine_->config().vocab_size));
  const uint32_t context = engine_->model().kv_cache().max_context();
  if (tokens_.size() + prompt.size() > context) {
    return fail(ErrorCode::kInvalidInput, "the prompt has {} tokens{}, more than the context of {}", prompt.size(),
                tokens_.empty() ? "" : fmt::format(" after {} already read", tokens_.size()), context);
  }
  return {};
}

Status Sequence::add_profile(gpu::Recorder& recorder, const GenerateOptions& options, GenerationStats& stats) const {
  if (!options.profile) return {};
  CRIA_TRY_ASSIGN(const gpu::SubmissionTimes times, recorder.times());
  stats.profile.add(times);
  return {};
}

/// Records the draw of the next token from the current logits, for the n-th of steps that are recorded together.
Status Sequence::record_draw(gpu::Recorder& recorder, const GenerateOptions& options, uint32_t step) {
  TokenSampler::Draw draw{.params = &options.sampling, .step = sampled_++, .slot = 0};
  if (constraint_) draw.mask = constraint_->mask();
  return sampler_.record_step(engine_->device(), recorder, engine_->model(), draw, step);
}

/// Submits steps with their draws, and starts reading these back.
Status Sequence::submit_steps(gpu::Recorder& recorder, const GenerateOptions& options, GenerationStats& stats,
                              uint32_t steps, Flight& flight) {
  CRIA_TRY_ASSIGN(flight.read, sampler_.read_steps(recorder, steps));
  flight.steps = steps;
  CRIA_TRY(recorder.submit());
  return add_profile(recorder, options, stats);
}

/// Appends checked tokens that are to be read, and makes room for them.
Status Sequence::begin_reading(const std::vector<uint32_t>& more) {
  const auto length = static_cast<uint32_t>(tokens_.size() + more.size());
  CRIA_TRY(engine_->model().kv_cache().reserve(engine_->device(), 0, length));
  tokens_.insert(tokens_.end(), more.begin(), more.end());
  return {};
}

/// Records a batch of tokens_ from position cached_ on.
Status Sequence::read_batch(gpu::Recorder& recorder, const model::Batch& batch) {
  CRIA_TRY(engine_->model().forward(engine_->device(), recorder, batch));
  sampler_.record_prompt(recorder, engine_->model(), batch.size(), 0);
  cached_ += batch.size();
  return {};
}

Status Sequence::read_prompt(const std::vector<uint32_t>& prompt, const GenerateOptions& options,
                             GenerationStats& stats, Flight& first) {
  gpu::Device& device = engine_->device();
  CRIA_TRY(begin_reading(prompt));
  const auto length = static_cast<uint32_t>(tokens_.size());
  const uint32_t begin = cached_;
  while (cached_ < length) {
    if (platform::interrupted()) return {};
    const uint32_t position = cached_;
    const uint32_t count = std::min(engine_->pass_size().tokens(position), length - position);
    model::Batch batch = part_of(tokens_, position, count);
    const bool is_last = position + count == length;
    if (is_last) batch.output_rows = {count - 1};
    gpu::Recorder recorder = device.record("prefill", options.profile ? gpu::Timing::kKernels : gpu::Timing::kNone);
    CRIA_TRY(read_batch(recorder, batch));
    if (is_last) {
      CRIA_TRY(record_draw(recorder, options, 0));
      CRIA_TRY(submit_steps(recorder, options, stats, 1, first));
    } else {
      CRIA_TRY(engine_->run_pass(recorder, count, position));
      CRIA_TRY(add_profile(recorder, options, stats));
    }
    if (options.on_read) options.on_read(cached_ - begin, length - begin);
  }
  return {};
}

/// Waits for tokens that are not wanted. Errors: those of the first one's draw.
Status Sequence::check_drawn(Flight& flight) const {
  CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, flight.read.values<kernels::SampledToken>());
  CRIA_TRY(token_of(sampled.front(), tokens_.size()));
  return {};
}

Status Sequence::settle() {
  cached_ = std::min(cached_, static_cast<uint32_t>(tokens_.size()));
  return sampler_.begin(engine_->device(), 0, tokens_);
}

/// A token becomes part of the text; the reason says why that ends with it, where it does. It holds the limit that is
/// reached with this token.
Status Sequence::take_over(uint32_t token, Decoding& decoding) {
  const GenerateOptions& options = decoding.options;
  if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) {
    decoding.reason = StopReason::kEndOfText;
    return {};
  }
  tokens_.push_back(token);
  ++decoding.stats.generated_tokens;
  const bool is_wanted = decoding.on_token(token);
  const Status followed = constraint_ ? constraint_->advance(token) : Status();
  if (!is_wanted || platform::interrupted()) {
    decoding.reason = StopReason::kInterrupted;
  } else if (constraint_ && constraint_->is_complete()) {
    decoding.reason = StopReason::kEndOfText;
  } else if (!decoding.reason) {
    return followed;
  }
  return {};
}

/// A token has come back.
Status Sequence::take_next(Decoding& decoding, kernels::SampledToken sampled) {
  CRIA_TRY_ASSIGN(const uint32_t token, token_of(sampled, tokens_.size()));
  ++decoding.known;
  if (decoding.left() == 0) {
    decoding.reason = StopReason::kMaxTokens;
  } else if (tokens_.size() >= engine_->model().kv_cache().max_context()) {
    decoding.reason = StopReason::kContextFull;
  }
  return take_over(token, decoding);
}

/// How many steps to record behind those that are under way. The tokens of these are still to come: the steps start
/// from their places on the GPU, unless it is better to know them first, for a draft behind them.
uint32_t Sequence::steps_ahead(const Decoding& decoding, uint32_t under_way) {
  const uint32_t context = engine_->model().kv_cache().max_context();
  const auto next = static_cast<uint32_t>(tokens_.size()) + under_way - 1;  // position
  const uint32_t left = decoding.left() - under_way;
  if (left == 0 || next >= context) return 0;
  const Speculation::Text text = draftable(decoding);
  if (decoding.known > 0 && speculation_.expects_drafts(std::span(&text, 1))) return 0;
  const model::MemoryPlan& plan = engine_->model().memory_plan();
  const bool is_streamed = plan.streamed_layers > 0 || plan.streamed_kv > 0;  // passes share a window on the device
  uint32_t together = decoding.options.steps_together;
  if (constraint_ || speculation_.is_on() || is_streamed || decoding.options.profile) {
    together = 1;
  } else if (together == 0) {
    together = decoding.pace.steps();
  }
  return std::min({together, model::kMaxStepsTogether, left, context - next});
}

/// Records the steps behind those that are under way, or behind the last token where none is, and submits them
/// together. With a grammar and a token that is not known the draw has to wait.
Status Sequence::begin_steps(Decoding& decoding, uint32_t under_way, uint32_t count, Flight& next) {
  const auto recording = Clock::now();
  gpu::Device& device = engine_->device();
  const auto position = static_cast<uint32_t>(tokens_.size()) + under_way - 1;
  CRIA_TRY(engine_->model().kv_cache().reserve(device, 0, position + count));
  const auto timing = decoding.options.profile ? gpu::Timing::kKernels : gpu::Timing::kNone;
  gpu::Recorder recorder = device.record("decode", timing);
  const bool draws = !constraint_ || under_way == 0;
  for (uint32_t step = 0; step < count; ++step) {
    auto batch = model::Batch::of(0, position + step, 1);
    if (under_way + step == 0) batch.tokens = {tokens_.back()};
    batch.output_all();
    CRIA_TRY(engine_->model().forward(device, recorder, batch));
    if (draws) CRIA_TRY(record_draw(recorder, decoding.options, step));
  }
  cached_ = position + count;
  if (draws) {
    CRIA_TRY(submit_steps(recorder, decoding.options, decoding.stats, count, next));
  } else {
    CRIA_TRY(recorder.submit());
    CRIA_TRY(add_profile(recorder, decoding.options, decoding.stats));
  }
  decoding.stats.passes += count;
  decoding.stats.record_seconds += seconds_since(recording);
  return {};
}

/// What may be drafted behind the tokens that are known: nothing with a grammar, whose masks need the tokens before.
Speculation::Text Sequence::draftable(const Decoding& decoding) const {
  const auto length = static_cast<uint32_t>(tokens_.size());
  const uint32_t context = engine_->model().kv_cache().max_context();
  const uint32_t room = std::min(context - std::min(length, context), decoding.left() - 1);
  return {.slot = 0,
          .tokens = tokens_,
          .most = constraint_ ? 0 : room,
          .params = &decoding.options.sampling,
          .step = sampled_};
}

/// Draws at the last token and at each drafted one behind it, in one pass, and takes what is drawn while the drafts
/// come true. Rows of the cache behind that are written anew by the next pass.
Status Sequence::verify(Decoding& decoding, const std::vector<uint32_t>& draft) {
  const auto start = Clock::now();
  gpu::Device& device = engine_->device();
  model::Model& model = engine_->model();
  const auto position = static_cast<uint32_t>(tokens_.size()) - 1;
  const auto rows = static_cast<uint32_t>(draft.size()) + 1;
  CRIA_TRY(model.kv_cache().reserve(device, 0, position + rows));
  auto batch = model::Batch::of(0, position, rows);
  batch.tokens = {tokens_.back()};
  batch.tokens.insert(batch.tokens.end(), draft.begin(), draft.end());
  batch.output_all();
  const auto timing = decoding.options.profile ? gpu::Timing::kKernels : gpu::Timing::kNone;
  gpu::Recorder recorder = device.record("verify", timing);
  CRIA_TRY(model.forward(device, recorder, batch));
  std::vector<TokenSampler::Draw> draws;
  draws.reserve(rows);
  for (uint32_t row = 0; row < rows; ++row) {
    draws.push_back({.params = &decoding.options.sampling,
                     .step = sampled_ + row,
                     .slot = 0,
                     .drafted = std::span(draft).first(row)});
  }
  CRIA_TRY_ASSIGN(gpu::PendingRead read, sampler_.record(device, recorder, model, draws));
  CRIA_TRY(recorder.submit());
  CRIA_TRY(add_profile(recorder, decoding.options, decoding.stats));
  ++decoding.stats.passes;
  decoding.stats.record_seconds += seconds_since(start);
  CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, read.values<kernels::SampledToken>());
  speculation_.observe_pass(rows, seconds_since(start));
  uint32_t accepted = 0;
  while (accepted < draft.size() && sampled[accepted].token == draft[accepted]) ++accepted;
  speculation_.observe_draft(0, rows - 1, accepted);
  decoding.stats.drafted_tokens += rows - 1;
  for (uint32_t row = 0; row <= accepted && !decoding.reason; ++row) {
    const uint32_t generated = decoding.stats.generated_tokens;
    ++sampled_;
    CRIA_TRY(take_next(decoding, sampled[row]));
    cached_ = position + row + 1;
    if (row > 0) sampler_.keep(decoding.options.sampling, 0, sampled[row].token);
    if (row < accepted) decoding.stats.accepted_tokens += decoding.stats.generated_tokens - generated;
  }
  return {};
}

Status Sequence::decode(Decoding& decoding, Flight first) {
  gpu::Device& device = engine_->device();
  const auto start = Clock::now();
  Flight pending = std::move(first);
  Clock::time_point arrival;  // of the tokens before
  bool was_ahead = false;
  while (!decoding.reason) {
    if (!pending.valid()) {
      const Speculation::Text text = draftable(decoding);
      CRIA_TRY_ASSIGN(const auto drafts, speculation_.draft(std::span(&text, 1)));
      if (!drafts.front().empty()) {
        CRIA_TRY(verify(decoding, drafts.front()));
        continue;
      }
      CRIA_TRY(begin_steps(decoding, 0, 1, pending));
      was_ahead = false;
    }
    const uint32_t ahead = steps_ahead(decoding, pending.steps);
    Flight next;
    if (ahead > 0) CRIA_TRY(begin_steps(decoding, pending.steps, ahead, next));
    CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> sampled, pending.read.values<kernels::SampledToken>());
    if (decoding.known == 0) decoding.stats.decode_seconds = -seconds_since(start);
    if (was_ahead && ahead > 0) {
      decoding.pace.observe(seconds_since(arrival), pending.steps);
      speculation_.observe_step(1, seconds_since(arrival) / pending.steps);
    }
    arrival = Clock::now();
    was_ahead = ahead > 0;
    for (uint32_t step = 0; step < pending.steps && !decoding.reason; ++step) {
      CRIA_TRY(take_next(decoding, sampled[size_t{step} * TokenSampler::kStepValues]));
    }
    if (decoding.reason) {
      // A failure of a step that nobody asked for is of no interest, unless the device is gone.
      if (next.valid() && !check_drawn(next)) CRIA_TRY(device.check());
      break;
    }
    if (constraint_ && ahead > 0) {
      const auto timing = decoding.options.profile ? gpu::Timing::kKernels : gpu::Timing::kNone;
      gpu::Recorder recorder = device.record("draw", timing);
      CRIA_TRY(record_draw(recorder, decoding.options, 0));
      CRIA_TRY(submit_steps(recorder, decoding.options, decoding.stats, 1, next));
    }
    pending = std::move(next);
  }
  decoding.stats.stop_reason = *decoding.reason;
  decoding.stats.decode_seconds += seconds_since(start);
  return {};
}

Status Sequence::read_and_decode(const std::vector<uint32_t>& prompt, const GenerateOptions& options,
                                 GenerationStats& stats, const TokenCallback& on_token) {
  const auto start = Clock::now();
  const uint32_t sampled_before = sampled_;
  Flight first;
  CRIA_TRY(read_prompt(prompt, options, stats, first));
  const auto on_first = [&, seen_first = false](text::TokenId token) mutable {
    if (!std::exchange(seen_first, true)) stats.prefill_seconds = seconds_since(start);
    return on_token(token);
  };
  if (platform::interrupted() || options.max_tokens == 0) {
    stats.stop_reason = platform::interrupted() ? StopReason::kInterrupted : StopReason::kMaxTokens;
    if (first.valid()) CRIA_TRY(check_drawn(first));
  } else {
    const TokenCallback callback = on_first;
    Decoding decoding{.options = options, .on_token = callback, .stats = stats};
    speculation_.begin(0);
    const Status decoded = decode(decoding, std::move(first));
    sampled_ = sampled_before + decoding.known;  // what was drawn in vain does not count
    CRIA_TRY(decoded);
  }
  if (stats.generated_tokens == 0) stats.prefill_seconds = seconds_since(start);
  return {};
}

Result<GenerationStats> Sequence::generate(const std::vector<uint32_t>& prompt, const GenerateOptions& options,
                                           const TokenCallback& on_token) {
  CRIA_TRY(validate(options.sampling));
  CRIA_TRY(check_biases(options.sampling, engine_->config().vocab_size));
  CRIA_TRY(check_prompt(prompt));
  GenerationStats stats;
  stats.prompt_tokens = static_cast<uint32_t>(prompt.size());
  stats.seed = options.sampling.seed;
  constraint_.reset();
  if (options.grammar) {
    CRIA_TRY_ASSIGN(constraint_, constraints_.begin(options.grammar, options.stop_tokens));
    if (constraint_->is_complete()) {  // only the empty text fits
      stats.stop_reason = StopReason::kEndOfText;
      return stats;
    }
  }
  const Status generated = read_and_decode(prompt, options, stats, on_token);
  constraint_.reset();
  const Status settled = settle();  // also after a failure: the text so far can be continued
  CRIA_TRY(generated);
  CRIA_TRY(settled);
  return stats;
}

Result<std::vector<std::vector<float>>> Sequence::read_logits(const std::vector<uint32_t>& more, uint32_t rows) {
  CRIA_TRY(check_prompt(more));
  CRIA_CHECK(rows >= 1 && rows <= more.size());
  gpu::Device& device = engine_->device();
  model::Model& model = engine_->model();
  CRIA_TRY(begin_reading(more));
  const auto length = static_cast<uint32_t>(tokens_.size());
  const uint32_t first_wanted = length - rows;
  const uint64_t row_bytes = uint64_t{model.logits().stride()} * 4;
  const auto rows_per_pass = static_cast<uint32_t>(
      std::clamp<uint64_t>(device.limits().max_binding_bytes / row_bytes, 1, model.max_batch_tokens()));
  std::vector<std::vector<float>> logits;
  while (cached_ < length) {
    const uint32_t position = cached_;
    const bool is_wanted = position >= first_wanted;
    const uint32_t limit = is_wanted ? rows_per_pass : first_wanted - position;
    const uint32_t count = std::min({limit, engine_->pass_size().tokens(position), length - position});
    model::Batch batch = part_of(tokens_, position, count);
    if (is_wanted) batch.output_all();
    gpu::Recorder recorder = device.record("logits");
    CRIA_TRY(read_batch(recorder, batch));
    CRIA_TRY(engine_->run_pass(recorder, count, position));
    if (!is_wanted) continue;
    CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, device.read(model.logits().buffer, 0, count * row_bytes));
    for (uint32_t row = 0; row < count; ++row) {
      std::vector<float>& values = logits.emplace_back(model.logits().columns);
      std::memcpy(values.data(), bytes.data() + row * row_bytes, values.size() * sizeof(float));
    }
  }
  return logits;
}

}  // namespace cria::engine
