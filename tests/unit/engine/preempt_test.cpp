// Texts that do not all fit into the cache: some wait, and each comes out as if it were alone.
#include <gtest/gtest.h>

#include <thread>

#include "engine/scheduler.h"
#include "gpu/faults.h"
#include "tiny_model.h"

namespace cria::engine {
namespace {

class PreemptionTest : public testing::Test {
 protected:
  static constexpr uint32_t kPages = 8;
  static constexpr uint32_t kTexts = 6;
  static constexpr uint32_t kTokens = 90;

  void start(SchedulerOptions options, uint32_t slots = kTexts, uint32_t pages = kPages) {
    finish();
    EngineOptions engine_options;
    engine_options.model.slots = slots;
    engine_options.model.max_context = 200;
    engine_options.model.cache_positions = pages * kernels::kPageSize;
    engine_ = Engine::load(model_.path(), engine_options).value();
    scheduler_ = Scheduler::create(*engine_, options).value();
  }
  void run() {
    thread_ = std::thread([this] { run_status_ = scheduler_->run(); });
  }
  void finish() {
    if (!scheduler_) return;
    scheduler_->stop(false);
    if (thread_.joinable()) thread_.join();
  }
  void TearDown() override {
    gpu::faults::lose_device_at(0);
    finish();
  }

  /// Texts of up to 40 + 90 tokens, 5 pages each; some drawn with temperature and penalties.
  static Job job(uint32_t index) {
    Job job;
    for (uint32_t i = 0; i < 20 + 4 * index; ++i) job.prompt.push_back((index * 31 + i * 7) % 384);
    job.options.sampling = {.temperature = index % 3 == 2 ? 0.9F : 0.0F,
                            .top_k = 0,
                            .top_p = 1,
                            .min_p = 0,
                            .repetition_penalty = 1.3F,
                            .presence_penalty = index % 2 == 0 ? 0.5F : 0.0F,
                            .frequency_penalty = 0.2F,
                            .seed = index};
    job.options.max_tokens = kTokens;
    return job;
  }

  struct Outcome {
    std::vector<uint32_t> tokens;
    std::optional<Error> error;
    StopReason reason;
  };
  static Outcome outcome_of(Ticket& ticket) {
    Outcome outcome;
    for (;;) {
      Ticket::News news = ticket.wait(std::chrono::seconds(60));
      outcome.tokens.insert(outcome.tokens.end(), news.tokens.begin(), news.tokens.end());
      if (!news.has_ended && !news.tokens.empty()) continue;
      EXPECT_TRUE(news.has_ended) << "nothing came for a minute";
      outcome.error = news.error;
      outcome.reason = news.reason;
      return outcome;
    }
  }
  std::vector<Outcome> all_at_once() {
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (uint32_t i = 0; i < kTexts; ++i) tickets.push_back(scheduler_->submit(job(i)).value());
    run();
    std::vector<Outcome> outcomes;
    for (auto& ticket : tickets) outcomes.push_back(outcome_of(*ticket));
    return outcomes;
  }
  /// What each text is with all of the cache to itself.
  std::vector<Outcome> one_by_one() {
    start({}, 1);
    run();
    std::vector<Outcome> outcomes;
    for (uint32_t i = 0; i < kTexts; ++i) outcomes.push_back(outcome_of(*scheduler_->submit(job(i)).value()));
    EXPECT_EQ(scheduler_->state().preemptions, 0U);
    return outcomes;
  }
  static void expect_same(const std::vector<Outcome>& found, const std::vector<Outcome>& expected) {
    for (uint32_t i = 0; i < kTexts; ++i) {
      SCOPED_TRACE(i);
      EXPECT_FALSE(found[i].error) << found[i].error->message();
      EXPECT_EQ(found[i].reason, StopReason::kMaxTokens);
      EXPECT_EQ(found[i].tokens, expected[i].tokens);
    }
  }
  /// No page is held that could not be given up: a text that needs each of them gets them.
  void expect_all_pages_can_be_had() {
    Job whole;
    whole.prompt.assign(200, 5);
    whole.options.sampling.temperature = 0;
    whole.options.max_tokens = 1;
    static_assert((200 + kernels::kPageSize - 1) / kernels::kPageSize == kPages - 1);
    const uint64_t before = scheduler_->state().preemptions;
    EXPECT_EQ(outcome_of(*scheduler_->submit(whole).value()).tokens.size(), 1U);
    finish();
    const SchedulerState state = scheduler_->state();
    EXPECT_EQ(state.preemptions, before);
    EXPECT_EQ(state.busy_pages, 0U);
    EXPECT_EQ(state.preempted, 0U);
    EXPECT_EQ(state.spilled_bytes, 0U);
    EXPECT_EQ(state.busy_slots, 0U);
  }

  const TinyModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::thread thread_;
  Status run_status_;
};

TEST_F(PreemptionTest, SpilledTextsGoOnAsIfNothingHadBeen) {
  const auto expected = one_by_one();
  for (const uint32_t shared_tokens : {0U, 256U}) {
    SCOPED_TRACE(shared_tokens);
    start({.shared_tokens = shared_tokens});
    expect_same(all_at_once(), expected);
    const SchedulerState state = scheduler_->state();
    EXPECT_GT(state.preemptions, 0U);
    EXPECT_EQ(state.recomputations, 0U);
    EXPECT_EQ(state.finished, kTexts);
    expect_all_pages_can_be_had();
  }
}

TEST_F(PreemptionTest, WithoutHostMemoryTheyAreReadAgain) {
  const auto expected = one_by_one();
  start({.spill_bytes = 0});
  expect_same(all_at_once(), expected);
  EXPECT_GT(scheduler_->state().recomputations, 0U);
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, HostMemoryIsBounded) {
  const auto expected = one_by_one();
  start({});
  const uint64_t page = PageSpill::page_bytes(*engine_);
  start({.spill_bytes = 3 * page});
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < kTexts; ++i) tickets.push_back(scheduler_->submit(job(i)).value());
  run();
  uint64_t most = 0;
  while (scheduler_->state().finished + scheduler_->state().failed < kTexts)
    most = std::max(most, scheduler_->state().spilled_bytes);
  EXPECT_LE(most, 3 * page);
  std::vector<Outcome> outcomes;
  for (auto& ticket : tickets) outcomes.push_back(outcome_of(*ticket));
  expect_same(outcomes, expected);
  const SchedulerState state = scheduler_->state();
  EXPECT_GT(state.recomputations, 0U);
  EXPECT_LT(state.recomputations, state.preemptions) << "some fitted";
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, WhoWaitsCanBeCancelled) {
  start({});
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < kTexts; ++i) tickets.push_back(scheduler_->submit(job(i)).value());
  run();
  while (scheduler_->state().preempted == 0 && scheduler_->state().finished < kTexts) std::this_thread::yield();
  ASSERT_LT(scheduler_->state().finished, kTexts);
  for (auto& ticket : tickets) ticket->cancel();
  for (auto& ticket : tickets) outcome_of(*ticket);
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, WhatWaitsInHostMemoryOutlivesTheDevice) {
  const auto expected = one_by_one();
  start({});
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < kTexts; ++i) tickets.push_back(scheduler_->submit(job(i)).value());
  run();
  while (scheduler_->state().preempted == 0 && scheduler_->state().finished < kTexts) std::this_thread::yield();
  gpu::faults::lose_device_at(1);
  size_t whole = 0;
  for (uint32_t i = 0; i < kTexts; ++i) {
    const Outcome outcome = outcome_of(*tickets[i]);
    if (outcome.error) continue;
    ++whole;
    EXPECT_EQ(outcome.tokens, expected[i].tokens) << i;
  }
  EXPECT_GT(whole, 0U);
  EXPECT_LT(whole, kTexts) << "those that ran were told";
  EXPECT_EQ(scheduler_->state().device_losses, 1U);
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, EmbeddingsBeginAnew) {
  const auto embedding = [&](uint32_t index) {
    Job job = PreemptionTest::job(index);
    job.prompt.resize(150, index);
    job.embeds = true;
    return job;
  };
  start({.chunk_tokens = 32}, 1);
  run();
  std::vector<std::vector<float>> alone;
  const auto vector_of = [](Ticket& ticket) {
    Ticket::News news;
    while (!news.has_ended) news = ticket.wait(std::chrono::seconds(60));
    EXPECT_FALSE(news.error);
    return news.embedding;
  };
  for (uint32_t i = 0; i < 3; ++i) alone.push_back(vector_of(*scheduler_->submit(embedding(i)).value()));
  start({.chunk_tokens = 32}, 4);
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < 3; ++i) tickets.push_back(scheduler_->submit(embedding(i)).value());
  run();
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(vector_of(*tickets[i]), alone[i]) << i;
  EXPECT_GT(scheduler_->state().preemptions, 0U);
  expect_all_pages_can_be_had();
}

}  // namespace
}  // namespace cria::engine
