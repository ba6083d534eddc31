// Texts are the same with drafts and without, whatever is drafted, however they are drawn, and wherever they end.
#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "chi_square.h"
#include "scheduler_fixture.h"

namespace cria::engine {
namespace {

using Tokens = std::vector<uint32_t>;

const TinyModel& tiny() {
  static const TinyModel model;
  return model;
}

/// Another model with the same tokens.
const TinyModel& other() {
  static const TinyModel model("other");
  static const bool is_other = [] {
    model.copy("config.json", "tests/golden/models/qwen2-f32/config.json");
    model.copy("model.safetensors", "tests/golden/models/qwen2-f32/model.safetensors");
    return true;
  }();
  EXPECT_TRUE(is_other);
  return model;
}

std::unique_ptr<Engine> load(DraftSource source, uint32_t slots = 1, uint32_t max_context = 200,
                             uint32_t cache_positions = 0, const TinyModel& draft = tiny()) {
  EngineOptions options;
  options.draft.source = source;
  options.draft.model = draft.path();
  options.model.slots = slots;
  options.model.max_context = max_context;
  options.model.cache_positions = cache_positions;
  auto engine = Engine::load(tiny().path(), options);
  EXPECT_TRUE(engine) << engine.error().message();
  return *std::move(engine);
}

/// Engines with a context of 200, which tests share.
Engine& plain() {
  static const std::unique_ptr<Engine> engine = load(DraftSource::kOff);
  return *engine;
}
Engine& drafting() {
  static const std::unique_ptr<Engine> engine = load(DraftSource::kLookup);
  return *engine;
}

/// Settings that go round in circles, that wander, and that must count what they drew.
std::vector<SamplingParams> settings() {
  std::vector<SamplingParams> settings = {
      {.temperature = 0, .top_k = 0, .top_p = 1, .repetition_penalty = 1},
      {.temperature = 0, .top_k = 0, .top_p = 1, .repetition_penalty = 1, .frequency_penalty = 0.02F},
      {.temperature = 0.3F, .top_k = 20, .top_p = 0.9F, .repetition_penalty = 1, .seed = 11},
      {.temperature = 0.3F, .top_k = 3, .top_p = 0.9F, .repetition_penalty = 1.01F, .seed = 5},
  };
  for (SamplingParams& setting : settings) {  // few letters, so that what was said comes again
    for (const uint32_t letter : {20U, 21U, 22U}) setting.logit_bias.push_back({.token = letter, .value = 50});
  }
  settings.push_back({.temperature = 0, .top_k = 0, .top_p = 1, .repetition_penalty = 1.1F});
  return settings;
}

GenerateOptions options_for(const SamplingParams& sampling, uint32_t max_tokens) {
  GenerateOptions options;
  options.sampling = sampling;
  options.max_tokens = max_tokens;
  return options;
}

struct Generated {
  Tokens tokens;
  GenerationStats stats;
};

Generated generate(Engine& engine, const Tokens& prompt, const GenerateOptions& options, size_t stop_after = SIZE_MAX) {
  auto sequence = Sequence::create(engine).value();
  EXPECT_TRUE(sequence.clear());
  size_t seen = 0;
  auto stats = sequence.generate(prompt, options, [&](uint32_t) { return ++seen < stop_after; });
  EXPECT_TRUE(stats) << stats.error().message();
  return {{sequence.tokens().begin() + std::ssize(prompt), sequence.tokens().end()}, *stats};
}

const Tokens kPrompt = {5, 6, 7, 8, 9, 5, 6, 7};

TEST(Speculation, TheTextIsTheSame) {
  uint32_t accepted = 0;
  uint32_t accepted_with_penalties = 0;
  for (const SamplingParams& sampling : settings()) {
    SCOPED_TRACE(fmt::format("temperature {}, penalty {}", sampling.temperature, sampling.repetition_penalty));
    const GenerateOptions options = options_for(sampling, 80);
    const Generated expected = generate(plain(), kPrompt, options);
    const Generated drafted = generate(drafting(), kPrompt, options);
    EXPECT_EQ(drafted.tokens, expected.tokens);
    EXPECT_EQ(drafted.stats.stop_reason, StopReason::kMaxTokens);
    EXPECT_EQ(drafted.stats.generated_tokens, 80U);
    EXPECT_EQ(expected.stats.drafted_tokens, 0U);
    EXPECT_LE(drafted.stats.accepted_tokens, drafted.stats.drafted_tokens);
    (has_penalties(sampling) ? accepted_with_penalties : accepted) += drafted.stats.accepted_tokens;
  }
  EXPECT_GT(accepted, 0U) << "drafts are tried";
  EXPECT_GT(accepted_with_penalties, 0U);
}

TEST(Speculation, AModelDraftsForItselfWhatItDraws) {
  const auto engine = load(DraftSource::kModel);
  uint32_t drafted = 0;
  for (const SamplingParams& sampling : settings()) {
    if (has_penalties(sampling)) continue;  // which drafts leave out
    SCOPED_TRACE(fmt::format("temperature {}", sampling.temperature));
    const GenerateOptions options = options_for(sampling, 60);
    const Generated with_drafts = generate(*engine, kPrompt, options);
    EXPECT_EQ(with_drafts.tokens, generate(plain(), kPrompt, options).tokens);
    EXPECT_EQ(with_drafts.stats.accepted_tokens, with_drafts.stats.drafted_tokens);
    drafted += with_drafts.stats.drafted_tokens;
  }
  EXPECT_GT(drafted, 5U);
}

TEST(Speculation, AModelThatDraftsWrongChangesNothingAndIsLeftAlone) {
  const auto engine = load(DraftSource::kModel, 1, 200, 0, other());
  GenerationStats all;
  for (SamplingParams sampling : settings()) {
    sampling.logit_bias.clear();
    const GenerateOptions options = options_for(sampling, 80);
    const Generated with_drafts = generate(*engine, kPrompt, options);
    EXPECT_EQ(with_drafts.tokens, generate(plain(), kPrompt, options).tokens);
    all.drafted_tokens += with_drafts.stats.drafted_tokens;
    all.accepted_tokens += with_drafts.stats.accepted_tokens;
    all.passes += with_drafts.stats.passes;
  }
  EXPECT_GT(all.drafted_tokens, 0U);
  EXPECT_LT(all.accepted_tokens, all.drafted_tokens / 4);
  EXPECT_LT(all.drafted_tokens, all.passes / 2) << "most passes are plain steps";
}

TEST(Speculation, OtherTokensAreRefused) {
  EngineOptions options;
  options.draft = {.source = DraftSource::kModel, .model = other().path()};
  TinyModel renamed;
  renamed.replace("tokenizer.json", R"("$":3,"%":4)", R"("%":3,"$":4)");
  options.draft.model = renamed.path();
  auto engine = Engine::load(tiny().path(), options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(engine.error().message().find(
                R"(token 3 is "$" for the model and "%" for the one that drafts: they must have the same tokens)"),
            std::string::npos)
      << engine.error().message();
  // The second one has no tokenizer.
  for (const auto& model : {default_model_path(), source_path("tests/golden/models/llama-odd-sizes-f32")}) {
    options.draft.model = model;
    engine = Engine::load(tiny().path(), options);
    ASSERT_FALSE(engine) << model;
    EXPECT_NE(engine.error().message().find("the model has 384 tokens and the one that drafts"), std::string::npos)
        << engine.error().message();
  }
}

TEST(Speculation, ATextEndsWithinADraftAsElsewhere) {
  const GenerateOptions options = options_for(settings().front(), 60);
  const Tokens all = generate(plain(), kPrompt, options).tokens;
  for (size_t end = 1; end < 40; end += 3) {
    SCOPED_TRACE(end);
    EXPECT_EQ(generate(drafting(), kPrompt, options, end).tokens,
              Tokens(all.begin(), all.begin() + static_cast<ptrdiff_t>(end)));
    GenerateOptions fewer = options;
    fewer.max_tokens = static_cast<uint32_t>(end);
    const Generated cut = generate(drafting(), kPrompt, fewer);
    EXPECT_EQ(cut.tokens, Tokens(all.begin(), all.begin() + static_cast<ptrdiff_t>(end)));
    EXPECT_EQ(cut.stats.stop_reason, StopReason::kMaxTokens);
    GenerateOptions stopped = options;
    stopped.stop_tokens = {all[end]};
    const Generated before = generate(plain(), kPrompt, stopped);
    const Generated with_drafts = generate(drafting(), kPrompt, stopped);
    EXPECT_EQ(with_drafts.tokens, before.tokens);
    EXPECT_EQ(with_drafts.stats.stop_reason, StopReason::kEndOfText);
  }
}

TEST(Speculation, WhatIsStoppedGoesOnAsIfItHadNotBeen) {
  for (const SamplingParams& sampling : {settings()[0], settings()[1]}) {
    const GenerateOptions options = options_for(sampling, 40);
    const Tokens expected = generate(drafting(), kPrompt, options).tokens;
    auto sequence = Sequence::create(drafting()).value();
    ASSERT_TRUE(sequence.clear());
    size_t seen = 0;
    ASSERT_TRUE(sequence.generate(kPrompt, options, [&](uint32_t) { return ++seen < 17; }));
    Tokens prompt = sequence.tokens();
    ASSERT_EQ(prompt.size(), kPrompt.size() + 17);
    ASSERT_TRUE(sequence.keep_prefix(prompt));
    GenerateOptions rest = options;
    rest.max_tokens = 23;
    ASSERT_TRUE(sequence.generate({prompt.back()}, rest, [](uint32_t) { return true; }));
    if (has_penalties(sampling)) continue;  // what was generated is a prompt now, and counts as one
    EXPECT_EQ(Tokens(sequence.tokens().begin() + std::ssize(kPrompt), sequence.tokens().end()), expected);
  }
}

TEST(Speculation, TheContextEndsATextAtTheSameToken) {
  const GenerateOptions options = options_for(settings().front(), 500);
  for (const uint32_t context : {40U, 47U}) {
    SCOPED_TRACE(context);
    const Generated expected = generate(*load(DraftSource::kOff, 1, context), kPrompt, options);
    const Generated drafted = generate(*load(DraftSource::kLookup, 1, context), kPrompt, options);
    EXPECT_EQ(drafted.tokens, expected.tokens);
    EXPECT_EQ(drafted.stats.stop_reason, StopReason::kContextFull);
  }
}

/// All texts of five letters that an alphabet of two allows, each as often as the model says.
TEST(Speculation, DrawsComeFromTheModelsDistribution) {
  constexpr uint32_t kLength = 5;
  constexpr uint32_t kTexts = 500;
  auto sequence = Sequence::create(drafting()).value();
  const Tokens letters = {20, 21};
  const Tokens prompt = {20, 21, 20, 20, 21, 21, 20, 21, 20};
  GenerateOptions options =
      options_for({.temperature = 1.5F, .top_k = 0, .top_p = 1, .repetition_penalty = 1}, kLength);
  // Behind the prompt, both are as likely: drafts come true as often as not.
  ASSERT_TRUE(sequence.clear());
  const auto first = sequence.read_logits(prompt, 1).value().front();
  const float lead = first[letters[1]] - first[letters[0]];
  options.sampling.logit_bias = {{.token = letters[0], .value = 90}, {.token = letters[1], .value = 90 - lead}};

  std::vector<double> probabilities(1U << kLength, 1);
  for (uint32_t length = 0; length < kLength; ++length) {
    for (uint32_t begin = 0; begin < (1U << length); ++begin) {
      Tokens text = prompt;
      for (uint32_t i = 0; i < length; ++i) text.push_back(letters[(begin >> i) & 1U]);
      ASSERT_TRUE(sequence.clear());
      const auto logits = sequence.read_logits(text, 1).value().front();
      const double odds = std::exp((logits[letters[1]] - logits[letters[0]] - lead) / options.sampling.temperature);
      for (uint32_t cell = 0; cell < probabilities.size(); ++cell) {
        if ((cell & ((1U << length) - 1)) != begin) continue;
        probabilities[cell] *= ((cell >> length) & 1U) != 0 ? odds / (1 + odds) : 1 / (1 + odds);
      }
    }
  }
  std::vector<uint32_t> counts(1U << kLength);
  uint32_t accepted = 0;
  uint32_t rejected = 0;
  for (uint32_t seed = 0; seed < kTexts; ++seed) {
    options.sampling.seed = seed;
    const uint32_t kept = sequence.keep_prefix(prompt).value();
    const auto stats = sequence.generate({prompt.begin() + kept, prompt.end()}, options, [](uint32_t) { return true; });
    ASSERT_TRUE(stats) << stats.error().message();
    uint32_t cell = 0;
    for (uint32_t i = 0; i < kLength; ++i) {
      cell |= (sequence.tokens()[prompt.size() + i] == letters[1] ? 1U : 0U) << i;
    }
    ++counts[cell];
    accepted += stats->accepted_tokens;
    rejected += stats->drafted_tokens - stats->accepted_tokens;
  }
  expect_distribution(counts, probabilities);
  EXPECT_GT(accepted, kTexts / 10);
  EXPECT_GT(rejected, kTexts / 10);
}

/// A scheduler at work in a thread of its own.
class Server {
 public:
  explicit Server(Engine& engine, const SchedulerOptions& options = {})
      : scheduler_(Scheduler::create(engine, options).value()), thread_([this] { EXPECT_TRUE(scheduler_->run()); }) {}
  ~Server() {
    scheduler_->stop(true);
    thread_.join();
  }
  std::shared_ptr<Ticket> submit(Job job) { return scheduler_->submit(std::move(job)).value(); }
  [[nodiscard]] SchedulerState state() const { return scheduler_->state(); }

  static Ticket::News all_of(Ticket& ticket) {
    Ticket::News all = engine::all_of(ticket);
    EXPECT_FALSE(all.error) << all.error->message();
    return all;
  }

 private:
  std::unique_ptr<Scheduler> scheduler_;
  std::thread thread_;
};

std::vector<Job> jobs() {
  std::vector<Job> jobs;
  for (const SamplingParams& sampling : settings()) {
    Job& job = jobs.emplace_back();
    job.prompt = {static_cast<uint32_t>(jobs.size())};  // no two begin alike, so that none share pages
    for (int i = 0; i < 5; ++i) job.prompt.insert(job.prompt.end(), kPrompt.begin(), kPrompt.end());
    job.options = options_for(sampling, 50);
  }
  return jobs;
}

TEST(Speculation, TextsOfABatchAreThoseOfEachAlone) {
  std::vector<Tokens> expected;
  for (const Job& job : jobs()) expected.push_back(generate(plain(), job.prompt, job.options).tokens);
  struct Setting {
    DraftSource source;
    uint32_t slots, cache_positions;
  };
  using enum DraftSource;
  for (const Setting& setting : {Setting{kLookup, 1, 0}, Setting{kLookup, 3, 128}, Setting{kModel, 3, 0}}) {
    SCOPED_TRACE(fmt::format("{} slots, {} positions", setting.slots, setting.cache_positions));
    const auto engine = load(setting.source, setting.slots, 100, setting.cache_positions);
    Server server(*engine);
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (Job& job : jobs()) tickets.push_back(server.submit(std::move(job)));
    uint32_t drafted = 0;
    uint32_t accepted = 0;
    for (size_t i = 0; i < tickets.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_EQ(Server::all_of(*tickets[i]).tokens, expected[i]);
      drafted += tickets[i]->drafted_tokens();
      accepted += tickets[i]->accepted_tokens();
    }
    const SchedulerState state = server.state();
    EXPECT_GT(accepted, 0U);
    EXPECT_EQ(state.drafted_tokens, drafted);
    EXPECT_EQ(state.accepted_tokens, accepted);
    EXPECT_EQ(state.generated_tokens, 250U);
    EXPECT_EQ(state.preemptions > 0, setting.cache_positions > 0);
  }
}

TEST(Speculation, LogprobsAreThoseOfEachRow) {
  Job job = jobs().front();
  job.top_logprobs = 2;
  std::vector<Ticket::News> news;
  for (const DraftSource source : {DraftSource::kOff, DraftSource::kLookup}) {
    const auto engine = load(source);
    Server server(*engine);
    const auto ticket = server.submit(job);
    news.push_back(Server::all_of(*ticket));
    EXPECT_EQ(ticket->accepted_tokens() > 0, source == DraftSource::kLookup);
  }
  ASSERT_EQ(news[0].tokens, news[1].tokens);
  ASSERT_EQ(news[0].logprobs.size(), news[1].logprobs.size());
  for (size_t i = 0; i < news[0].logprobs.size(); ++i) {
    EXPECT_NEAR(news[0].logprobs[i].chosen, news[1].logprobs[i].chosen, 1e-3) << i;
  }
}

TEST(Speculation, CancelledTextsLeaveTheirSlots) {
  const auto engine = load(DraftSource::kLookup, 2, 500);
  Server server(*engine);
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (Job& job : jobs()) {
    job.options.max_tokens = 450;
    tickets.push_back(server.submit(std::move(job)));
  }
  Tokens first;
  while (first.size() < 20) {
    const Ticket::News news = tickets[0]->wait(std::chrono::milliseconds(200));
    first.insert(first.end(), news.tokens.begin(), news.tokens.end());
    ASSERT_FALSE(news.has_ended);
  }
  for (const auto& ticket : tickets) ticket->cancel();
  for (const auto& ticket : tickets) EXPECT_EQ(Server::all_of(*ticket).reason, StopReason::kInterrupted);
}

/// Logits after each of so many tokens that are read in one pass behind others, which a step before has read.
std::vector<std::vector<float>> few_logits(const TinyModel& model, EngineOptions options, DraftSource source,
                                           uint32_t rows) {
  options.draft.source = source;
  options.model.max_context = 64;
  auto engine = Engine::load(model.path(), options);
  EXPECT_TRUE(engine) << engine.error().message();
  auto sequence = Sequence::create(**engine).value();
  Tokens tokens(rows);
  for (uint32_t i = 0; i < rows; ++i) tokens[i] = (31 * i + 7) % 384;
  EXPECT_TRUE(sequence.read_logits({5, 6, 7}, 1));
  auto logits = sequence.read_logits(tokens, rows);
  EXPECT_TRUE(logits) << logits.error().message();
  return *std::move(logits);
}

/// With drafts, few tokens are read by the kernels of decode steps, or in narrow tiles of matrix units.
TEST(Speculation, FewTokensAreReadAsManyAre) {
  const TinyModel with_norms("qwen3");
  with_norms.copy("config.json", "tests/golden/models/qwen3-f32/config.json");
  with_norms.copy("model.safetensors", "tests/golden/models/qwen3-f32/model.safetensors");
  using MatrixUnits = model::ModelOptions::MatrixUnits;
  struct Setting {
    const TinyModel& model;
    model::Precision precision;
    MatrixUnits matrix_units;
    uint32_t rows;
    double tolerance;  // relative to the largest logit: products in f32, and of what was rounded to f16 or 8 bits
  };
  for (const Setting& setting : {Setting{with_norms, model::Precision::kAsStored, MatrixUnits::kOff, 13, 1e-4},
                                 Setting{tiny(), model::Precision::kInt8, MatrixUnits::kOff, 4, 0.05},
                                 Setting{with_norms, model::Precision::kF16, MatrixUnits::kOn, 5, 0.02}}) {
    SCOPED_TRACE(fmt::format("{} rows, precision {}", setting.rows, model::precision_name(setting.precision)));
    EngineOptions options;
    options.model.weights.precision = setting.precision;
    options.model.matrix_units = setting.matrix_units;
    const auto expected = few_logits(setting.model, options, DraftSource::kOff, setting.rows);
    const auto few = few_logits(setting.model, options, DraftSource::kLookup, setting.rows);
    ASSERT_EQ(few.size(), expected.size());
    for (size_t row = 0; row < few.size(); ++row) {
      double largest = 0;
      double furthest = 0;
      for (size_t i = 0; i < few[row].size(); ++i) {
        largest = std::max(largest, std::abs(double{expected[row][i]}));
        furthest = std::max(furthest, std::abs(double{expected[row][i]} - double{few[row][i]}));
      }
      EXPECT_LT(furthest, setting.tolerance * largest) << "row " << row;
    }
  }
}

TEST(Speculation, ALostDeviceIsOpenedWithBothModels) {
  const auto engine = load(DraftSource::kModel);
  Server server(*engine);
  const Tokens expected = Server::all_of(*server.submit(jobs().front())).tokens;
  gpu::faults::lose_device_at(12);
  const auto lost = server.submit(jobs().front());
  Ticket::News news;
  while (!news.has_ended) news = lost->wait(std::chrono::milliseconds(200));
  gpu::faults::lose_device_at(0);
  EXPECT_TRUE(news.error);
  EXPECT_EQ(Server::all_of(*server.submit(jobs().front())).tokens, expected);
  EXPECT_EQ(server.state().device_losses, 1U);
}

TEST(Speculation, IsOffWhereTheCacheCannotBeWrittenTwice) {
  const TinyModel dynamic;
  dynamic.copy("config.json", "tests/golden/models/llama-dynamic-f32/config.json");
  dynamic.copy("model.safetensors", "tests/golden/models/llama-dynamic-f32/model.safetensors");
  EngineOptions options;
  options.draft.source = DraftSource::kLookup;
  auto engine = Engine::load(dynamic.path(), options);
  ASSERT_TRUE(engine) << engine.error().message();
  EXPECT_FALSE(Speculation::create(**engine).value().is_on());
  EXPECT_TRUE(Speculation::create(drafting()).value().is_on());
  EXPECT_FALSE(Speculation::create(plain()).value().is_on());
}

}  // namespace
}  // namespace cria::engine
