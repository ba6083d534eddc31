#include "engine/bench.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "base/platform.h"
#include "engine/median.h"
#include "kernels/fill_random.h"

namespace cria::engine {
namespace {

constexpr SamplingParams kGreedy = {
    .temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 0};
/// The profiled run needs no more steps than these to tell the kernels' shares.
constexpr uint32_t kProfiledTokens = 16;

class Stopwatch {
 public:
  [[nodiscard]] double seconds() const { return seconds_since(start_); }
  [[nodiscard]] double cpu_seconds() const { return platform::cpu_seconds() - cpu_start_; }

 private:
  Clock::time_point start_ = Clock::now();
  double cpu_start_ = platform::cpu_seconds();
};

uint32_t made_up_token(uint32_t vocab_size, uint64_t index) {
  return kernels::random_word(0, static_cast<uint32_t>(index)) % vocab_size;
}

std::vector<uint32_t> made_up_tokens(uint32_t vocab_size, uint32_t count) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t i = 0; i < count; ++i) tokens[i] = made_up_token(vocab_size, i);
  return tokens;
}

}  // namespace

std::string BenchCase::name() const {
  std::string name = fmt::format("{}{}", kind == Kind::kPrompt ? "pp" : "tg", tokens);
  if (depth > 0) name += fmt::format(" @ d{}", depth);
  return name;
}

double BenchResult::speed() const { return median(tokens_per_second); }

double step_bytes(const model::Model& model, uint32_t batch, uint32_t depth) {
  const model::ModelConfig& config = model.config();
  const double layer_bytes = static_cast<double>(model.memory_plan().kv_bytes_per_position) / config.num_layers;
  double positions = 0;  // summed over layers; the token being read is one of them
  for (const uint32_t window : config.sliding_window) {
    positions += window == 0 ? depth + 1 : std::min(window, depth + 1);
  }
  return static_cast<double>(model.memory_plan().step_weight_bytes) + batch * positions * layer_bytes;
}

Result<Bench> Bench::create(Engine& engine, uint32_t max_batch) {
  CRIA_TRY_ASSIGN(Sequence sequence, Sequence::create(engine));
  Bench bench(engine, std::move(sequence));
  gpu::Device& device = engine.device();
  const uint32_t vocab = engine.config().vocab_size;
  CRIA_TRY_ASSIGN(bench.sampler_, kernels::Sampler::create(device, vocab));
  std::vector<kernels::SamplerRow> rows;
  for (uint32_t i = 0; i < max_batch; ++i) {
    kernels::SamplerRow& row = rows.emplace_back(sampler_row(kGreedy, 0, i));
    row.logits_row = row.token_index = i;
  }
  const auto scratch = [&](std::string_view label, uint64_t bytes) {
    return device.create_buffer(label, bytes, gpu::MemoryKind::kScratch);
  };
  CRIA_TRY_ASSIGN(bench.sampler_rows_, scratch("sampler parameters", rows.size() * sizeof(rows[0])));
  CRIA_TRY_ASSIGN(bench.seen_, scratch("token counts", uint64_t{max_batch} * vocab * 4));
  CRIA_TRY_ASSIGN(bench.results_, scratch("sampled tokens", uint64_t{max_batch} * sizeof(kernels::SampledToken)));
  CRIA_TRY(device.write(bench.sampler_rows_, 0, std::as_bytes(std::span(rows))));
  return bench;
}

Status Bench::check(const BenchCase& what) const {
  CRIA_CHECK(what.tokens > 0 && what.batch > 0);
  const uint32_t context = engine_->model().kv_cache().max_context();
  if (what.positions() > context) {
    return fail(ErrorCode::kInvalidInput, "{} needs a context of {} positions, more than the {} that there are",
                what.name(), with_commas(what.positions()), with_commas(context));
  }
  if (what.batch > engine_->model().max_batch_tokens()) {
    return fail(ErrorCode::kInvalidInput, "{} of {} sequences is more than the {} tokens of one pass", what.name(),
                what.batch, engine_->model().max_batch_tokens());
  }
  return {};
}

/// Gives back what other cases left in the cache, and reads what the sequences are to hold beforehand.
Status Bench::prepare(const BenchCase& what) {
  model::KvCache& cache = engine_->model().kv_cache();
  CRIA_TRY(sequence_.clear());
  for (uint32_t slot = 0; slot < cache.slots(); ++slot) cache.truncate(slot, 0);
  const bool by_sequence = what.kind == BenchCase::Kind::kGenerate && what.batch == 1;
  if (by_sequence) return {};
  for (uint32_t slot = 0; slot < what.batch; ++slot) {
    CRIA_TRY(cache.reserve(engine_->device(), slot, static_cast<uint32_t>(what.positions())));
  }
  if (what.depth > 0) CRIA_TRY(read_prompts(0, what.depth, what.batch, false));
  return {};
}

Result<Bench::Run> Bench::run(const BenchCase& what, bool profile) {
  if (what.kind == BenchCase::Kind::kPrompt) return read_prompts(what.depth, what.tokens, what.batch, profile);
  return what.batch == 1 ? generate_one(what, profile) : generate_many(what, profile);
}

/// Reads made-up tokens into `batch` sequences, one after the other, from position `first` on, with the logits
/// after each one's last. Like Sequence, it waits for each pass.
Result<Bench::Run> Bench::read_prompts(uint32_t first, uint32_t tokens, uint32_t batch, bool profile) {
  gpu::Device& device = engine_->device();
  model::Model& model = engine_->model();
  Run run;
  const Stopwatch watch;
  const uint64_t total = uint64_t{tokens} * batch;
  for (uint64_t done = 0; done < total;) {
    const uint64_t end = std::min(total, done + model.max_batch_tokens());
    const Stopwatch recording;
    model::Batch pass;
    pass.rope_length = first + tokens;
    for (uint64_t i = done; i < end; ++i) {
      pass.tokens.push_back(made_up_token(engine_->config().vocab_size, i));
      pass.positions.push_back(first + static_cast<uint32_t>(i % tokens));
      pass.slots.push_back(static_cast<uint32_t>(i / tokens));
      if ((i + 1) % tokens == 0) pass.output_rows.push_back(static_cast<uint32_t>(i - done));
    }
    gpu::Recorder recorder = device.record("prefill", profile ? gpu::Timing::kKernels : gpu::Timing::kNone);
    CRIA_TRY(model.forward(device, recorder, pass));
    CRIA_TRY(recorder.submit());
    run.record_seconds += recording.seconds();
    CRIA_TRY(device.wait_idle());
    if (profile) {
      CRIA_TRY_ASSIGN(const gpu::SubmissionTimes times, recorder.times());
      run.profile.add(times);
    }
    done = end;
  }
  run.seconds = watch.seconds();
  run.cpu_seconds = watch.cpu_seconds();
  return run;
}

/// The loop that users get, from the first generated token to the last.
Result<Bench::Run> Bench::generate_one(const BenchCase& what, bool profile) {
  const uint32_t vocab = engine_->config().vocab_size;
  CRIA_TRY(sequence_.clear());
  if (what.depth > 0) CRIA_TRY(sequence_.read_logits(made_up_tokens(vocab, what.depth), 1));
  CRIA_TRY(engine_->device().wait_idle());
  Run run;
  std::optional<Stopwatch> watch;
  uint32_t seen = 0;
  const auto on_token = [&](text::TokenId) {
    if (seen == 0) watch.emplace();
    if (seen == what.tokens) {
      run.seconds = watch->seconds();
      run.cpu_seconds = watch->cpu_seconds();
    }
    ++seen;
    return true;
  };
  const GenerateOptions options{
      .sampling = kGreedy, .max_tokens = what.tokens + 1, .stop_tokens = {}, .profile = profile};
  CRIA_TRY_ASSIGN(GenerationStats stats, sequence_.generate({made_up_token(vocab, what.depth)}, options, on_token));
  CRIA_CHECK(seen == what.tokens + 1);
  run.record_seconds = stats.record_seconds;
  run.profile = std::move(stats.profile);
  return run;
}

/// Records a step of all sequences and the draw of their next tokens, and submits it.
Result<gpu::PendingRead> Bench::submit_step(const BenchCase& what, uint32_t step, gpu::Recorder& recorder) {
  model::Model& model = engine_->model();
  model::Batch batch;
  for (uint32_t i = 0; i < what.batch; ++i) {
    if (step == 0) batch.tokens.push_back(made_up_token(engine_->config().vocab_size, i));
    batch.positions.push_back(what.depth + step);
    batch.slots.push_back(i);
    batch.output_rows.push_back(i);
  }
  batch.rope_length = what.depth + step + 1;
  CRIA_TRY(model.forward(engine_->device(), recorder, batch));
  sampler_.record(recorder, model.logits(), sampler_rows_, seen_, model.tokens(), results_, what.batch, true);
  CRIA_TRY_ASSIGN(gpu::PendingRead read,
                  recorder.read(results_, 0, uint64_t{what.batch} * sizeof(kernels::SampledToken)));
  CRIA_TRY(recorder.submit());
  return read;
}

Status Bench::take_tokens(gpu::PendingRead& read) const {
  CRIA_TRY_ASSIGN(const std::vector<kernels::SampledToken> tokens, read.values<kernels::SampledToken>());
  for (const kernels::SampledToken& token : tokens) {
    if (token.status != kernels::SamplerStatus::kOk) {
      return fail(ErrorCode::kNotFinite, "the model produced NaN or infinite logits");
    }
  }
  return {};
}

/// The same loop for several sequences: step n + 1 is recorded while step n runs.
Result<Bench::Run> Bench::generate_many(const BenchCase& what, bool profile) {
  gpu::Device& device = engine_->device();
  Run run;
  std::optional<Stopwatch> watch;
  gpu::PendingRead pending;
  for (uint32_t step = 0; step <= what.tokens; ++step) {
    const Stopwatch recording;
    gpu::Recorder recorder = device.record("decode", profile ? gpu::Timing::kKernels : gpu::Timing::kNone);
    CRIA_TRY_ASSIGN(gpu::PendingRead next, submit_step(what, step, recorder));
    if (step > 0) {
      run.record_seconds += recording.seconds();
      CRIA_TRY(take_tokens(pending));
      if (step == 1) watch.emplace();
    }
    if (profile) {
      CRIA_TRY_ASSIGN(const gpu::SubmissionTimes times, recorder.times());
      run.profile.add(times);
    }
    pending = std::move(next);
  }
  CRIA_TRY(take_tokens(pending));
  run.seconds = watch->seconds();
  run.cpu_seconds = watch->cpu_seconds();
  return run;
}

Result<BenchResult> Bench::measure(const BenchCase& what, const BenchOptions& options) {
  CRIA_TRY(check(what));
  CRIA_TRY(prepare(what));
  const Stopwatch warm_up;
  do {
    CRIA_TRY(run(what, false));
  } while (warm_up.seconds() < options.warm_up_seconds);

  BenchResult result;
  result.what = what;
  const double tokens = static_cast<double>(what.tokens) * what.batch;
  std::vector<double> cpu, record;
  for (uint32_t i = 0; i < options.repetitions; ++i) {
    CRIA_TRY_ASSIGN(const Run timed, run(what, false));
    result.tokens_per_second.push_back(tokens / timed.seconds);
    cpu.push_back(timed.cpu_seconds / tokens);
    record.push_back(timed.record_seconds / tokens);
  }
  result.cpu_seconds_per_token = median(std::move(cpu));
  result.record_seconds_per_token = median(std::move(record));
  if (what.kind == BenchCase::Kind::kGenerate) {
    // Step s of the timed ones, from 1 to `tokens`, reads at depth + s: on average in the middle.
    result.bytes_per_token =
        (step_bytes(engine_->model(), what.batch, what.depth + (what.tokens + 1) / 2)) / what.batch;
    result.streamed_bytes_per_token = static_cast<double>(engine_->model().streamed_bytes()) / what.batch;
  }
  if (options.profile) {
    BenchCase profiled = what;
    if (what.kind == BenchCase::Kind::kGenerate) profiled.tokens = std::min(what.tokens, kProfiledTokens);
    CRIA_TRY_ASSIGN(Run timed, run(profiled, true));
    result.profile = std::move(timed.profile);
    // Generating times the step that reads the first token as well.
    const bool is_prompt = what.kind == BenchCase::Kind::kPrompt;
    result.profiled_tokens = uint64_t{profiled.tokens + (is_prompt ? 0 : 1)} * what.batch;
  }
  return result;
}

}  // namespace cria::engine
