#include "engine/draft_bench.h"

#include <algorithm>
#include <cctype>

#include "base/clock.h"
#include "base/log.h"
#include "engine/median.h"
#include "kernels/fill_random.h"

namespace cria::engine {
double DraftBenchResult::plain_speed(const DraftScript& script) const { return script.tokens / median(plain_seconds); }
double DraftBenchResult::speed(const DraftScript& script) const { return script.tokens / median(seconds); }

Result<DraftBench> DraftBench::create(Engine& engine) {
  DraftBench bench(engine);
  bench.greedy_ = {.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1};
  CRIA_TRY_ASSIGN(bench.speculation_, Speculation::create(engine));
  CRIA_TRY_ASSIGN(bench.sampler_, TokenSampler::create(engine.device(), engine.config().vocab_size, 1,
                                                       engine.model().memory_plan().step_rows));
  return bench;
}

Status DraftBench::read_prompt(const DraftScript& script) {
  model::Model& model = engine_->model();
  gpu::Device& device = engine_->device();
  model.kv_cache().truncate(0, 0);
  const auto length = static_cast<uint32_t>(script.prompt.size());
  CRIA_TRY(model.kv_cache().reserve(device, 0, length));
  for (uint32_t position = 0; position < length;) {
    const uint32_t count = std::min(engine_->pass_size().tokens(position), length - position);
    auto batch = model::Batch::of(0, position, count);
    batch.tokens.assign(script.prompt.begin() + position, script.prompt.begin() + position + count);
    batch.rope_length = length;
    gpu::Recorder recorder = device.record("prefill");
    CRIA_TRY(model.forward(device, recorder, batch));
    CRIA_TRY(engine_->run_pass(recorder, count, position));
    position += count;
  }
  text_ = script.prompt;
  return {};
}

/// Submits a pass of so many rows from a position on, with draws at all of them.
Result<gpu::PendingRead> DraftBench::submit(std::vector<uint32_t> tokens, uint32_t position, uint32_t rows) {
  model::Model& model = engine_->model();
  gpu::Device& device = engine_->device();
  CRIA_TRY(model.kv_cache().reserve(device, 0, position + rows));
  const std::vector<uint32_t> drafted(tokens.begin() + (tokens.empty() ? 0 : 1), tokens.end());
  auto batch = model::Batch::of(0, position, rows);
  batch.tokens = std::move(tokens);
  batch.output_all();
  gpu::Recorder recorder = device.record("measured");
  CRIA_TRY(model.forward(device, recorder, batch));
  std::vector<TokenSampler::Draw> draws;
  for (uint32_t row = 0; row < rows; ++row) {
    draws.push_back({.params = &greedy_, .step = position + row, .slot = 0, .drafted = std::span(drafted).first(row)});
  }
  CRIA_TRY_ASSIGN(gpu::PendingRead read, sampler_.record(device, recorder, model, draws));
  CRIA_TRY(recorder.submit());
  return read;
}

/// What the script says instead of what was drawn at so many rows, the last of which may follow a draft.
std::vector<uint32_t> DraftBench::drawn(const DraftScript& script, const std::vector<uint32_t>& draft,
                                        uint32_t rows) const {
  const size_t done = text_.size() - script.prompt.size();
  const uint32_t vocab = engine_->config().vocab_size;
  std::vector<uint32_t> tokens;
  const bool comes_true = kernels::random_word(1, static_cast<uint32_t>(done)) % 100 < script.accepted_percent;
  for (uint32_t row = 0; row < rows; ++row) {
    if (!script.answer.empty()) {
      tokens.push_back(script.answer[std::min(done + row, script.answer.size() - 1)]);
    } else if (row < draft.size()) {
      tokens.push_back(comes_true ? draft[row] : (draft[row] + 1) % vocab);
    } else {
      tokens.push_back(kernels::random_word(0, static_cast<uint32_t>(done + row)) % vocab);
    }
  }
  return tokens;
}

Speculation::Text DraftBench::draftable(const DraftScript& script) const {
  const size_t left = script.prompt.size() + script.tokens - text_.size();
  return {.slot = 0,
          .tokens = text_,
          .most = static_cast<uint32_t>(std::max<size_t>(left, 1) - 1),
          .params = &greedy_,
          .step = static_cast<uint32_t>(text_.size())};
}

Status DraftBench::verify(const DraftScript& script, const std::vector<uint32_t>& draft, Run& run) {
  const auto start = Clock::now();
  std::vector<uint32_t> tokens = {text_.back()};
  tokens.insert(tokens.end(), draft.begin(), draft.end());
  const auto rows = static_cast<uint32_t>(tokens.size());
  const auto position = static_cast<uint32_t>(text_.size()) - 1;
  CRIA_TRY_ASSIGN(gpu::PendingRead read, submit(std::move(tokens), position, rows));
  CRIA_TRY(read.values<kernels::SampledToken>());
  const double seconds = seconds_since(start);
  speculation_.observe_pass(rows, seconds);
  const std::vector<uint32_t> said = drawn(script, draft, rows);
  uint32_t accepted = 0;
  while (accepted < draft.size() && said[accepted] == draft[accepted]) ++accepted;
  speculation_.observe_draft(0, rows - 1, accepted);
  log::debug("a pass of {} rows takes {:.2f} ms; {} drafted tokens come true", rows, seconds * 1e3, accepted);
  ++run.passes;
  run.drafted_tokens += rows - 1;
  run.accepted_tokens += accepted;
  text_.insert(text_.end(), said.begin(), said.begin() + accepted + 1);
  return {};
}

/// The loop of Sequence::decode where drafts are on, from the first token behind the prompt on. A step that is begun
/// ahead reads the token that was drawn, not that of the script: it costs the same.
Result<DraftBench::Run> DraftBench::run(const DraftScript& script, bool drafts) {
  CRIA_TRY(read_prompt(script));
  speculation_.begin(0);
  Run run;
  const auto start = Clock::now();
  const size_t end = script.prompt.size() + script.tokens;
  gpu::PendingRead pending;
  Clock::time_point arrival;
  bool was_ahead = false;
  while (text_.size() < end) {
    if (!pending.valid()) {
      const Speculation::Text text = draftable(script);
      std::vector<std::vector<uint32_t>> found(1);
      if (drafts) {
        CRIA_TRY_ASSIGN(found, speculation_.draft(std::span(&text, 1)));
      }
      if (!found.front().empty()) {
        CRIA_TRY(verify(script, found.front(), run));
        continue;
      }
      CRIA_TRY_ASSIGN(pending, submit({text_.back()}, static_cast<uint32_t>(text_.size()) - 1, 1));
      ++run.passes;
      was_ahead = false;
    }
    const Speculation::Text text = draftable(script);
    const bool ahead = text_.size() + 1 < end && !(drafts && speculation_.expects_drafts(std::span(&text, 1)));
    gpu::PendingRead next;
    if (ahead) {
      CRIA_TRY_ASSIGN(next, submit({}, static_cast<uint32_t>(text_.size()), 1));
      ++run.passes;
    }
    CRIA_TRY(pending.values<kernels::SampledToken>());
    if (was_ahead && ahead) speculation_.observe_step(1, seconds_since(arrival));
    arrival = Clock::now();
    was_ahead = ahead;
    text_.push_back(drawn(script, {}, 1).front());
    pending = std::move(next);
  }
  run.seconds = seconds_since(start);
  return run;
}

std::vector<uint32_t> made_up_tokens(std::string_view text, uint32_t vocab_size) {
  const auto is_letter = [&](size_t at) {
    return at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
  };
  std::vector<uint32_t> tokens;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    if (is_letter(begin) || (text[begin] == ' ' && is_letter(end))) {
      while (is_letter(end)) ++end;
    }
    tokens.push_back(
        static_cast<uint32_t>(std::hash<std::string_view>()(text.substr(begin, end - begin)) % vocab_size));
    begin = end;
  }
  return tokens;
}

Result<DraftBenchResult> DraftBench::measure(const DraftScript& script, uint32_t repetitions) {
  const uint64_t length = script.prompt.size() + script.tokens;
  if (length > engine_->max_context()) {
    return fail(ErrorCode::kInvalidInput, "{} needs a context of {} positions, more than the {} that there are",
                script.name, with_commas(length), with_commas(engine_->max_context()));
  }
  if (!speculation_.is_on()) {
    return fail(ErrorCode::kUnsupported,
                "nothing can be drafted for this model here, as its RoPE is dynamic or its "
                "keys and values lie in memory of the host");
  }
  DraftBenchResult result;
  for (uint32_t repetition = 0; repetition <= repetitions; ++repetition) {  // the first one does not count
    CRIA_TRY_ASSIGN(const Run plain, run(script, false));
    CRIA_TRY_ASSIGN(const Run drafted, run(script, true));
    if (repetition == 0) continue;
    result.plain_seconds.push_back(plain.seconds);
    result.seconds.push_back(drafted.seconds);
    result.drafted_tokens = drafted.drafted_tokens;
    result.accepted_tokens = drafted.accepted_tokens;
    result.passes = drafted.passes;
  }
  return result;
}

}  // namespace cria::engine
