// Texts that do not all fit into the cache: some wait, and each comes out as if it were alone.
#include <array>

#include "scheduler_fixture.h"

namespace cria::engine {
namespace {

class PreemptionTest : public SchedulerFixture {
 protected:
  static constexpr uint32_t kPages = 8;
  static constexpr uint32_t kTexts = 6;
  static constexpr uint32_t kTokens = 90;

  void start(const SchedulerOptions& options, uint32_t slots = kTexts, uint32_t pages = kPages) {
    SchedulerFixture::start(slots, options, pages);
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

  /// Sets the scheduler to work with all texts.
  std::vector<std::shared_ptr<Ticket>> run_all() {
    std::vector<std::shared_ptr<Ticket>> tickets(kTexts);
    for (uint32_t i = 0; i < kTexts; ++i) tickets[i] = scheduler_->submit(job(i)).value();
    run();
    return tickets;
  }
  static std::vector<Ticket::News> outcomes_of(const std::vector<std::shared_ptr<Ticket>>& tickets) {
    std::vector<Ticket::News> outcomes;
    outcomes.reserve(tickets.size());
    for (const auto& ticket : tickets) outcomes.push_back(all_of(*ticket));
    return outcomes;
  }
  /// What each text is with all of the cache to itself.
  std::vector<Ticket::News> one_by_one() {
    start({}, 1);
    run();
    std::vector<Ticket::News> outcomes(kTexts);
    for (uint32_t i = 0; i < kTexts; ++i) outcomes[i] = answer(job(i));
    EXPECT_EQ(scheduler_->state().preemptions, 0U);
    return outcomes;
  }
  static void expect_same(const std::vector<Ticket::News>& found, const std::vector<Ticket::News>& expected) {
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
    EXPECT_EQ(answer(whole).tokens.size(), 1U);
    finish();
    const SchedulerState state = scheduler_->state();
    EXPECT_EQ(state.preemptions, before);
    EXPECT_EQ(state.busy_pages, 0U);
    EXPECT_EQ(state.preempted, 0U);
    EXPECT_EQ(state.spilled_bytes, 0U);
    EXPECT_EQ(state.busy_slots, 0U);
  }
};

TEST_F(PreemptionTest, SpilledTextsGoOnAsIfNothingHadBeen) {
  const auto expected = one_by_one();
  for (const uint32_t shared_tokens : {0U, 256U}) {
    SCOPED_TRACE(shared_tokens);
    start({.shared_tokens = shared_tokens});
    expect_same(outcomes_of(run_all()), expected);
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
  expect_same(outcomes_of(run_all()), expected);
  EXPECT_GT(scheduler_->state().recomputations, 0U);
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, HostMemoryIsBounded) {
  const auto expected = one_by_one();
  start({});
  const uint64_t page = PageSpill::page_bytes(*engine_);
  start({.spill_bytes = 3 * page});
  const auto tickets = run_all();
  uint64_t most = 0;
  while (scheduler_->state().finished + scheduler_->state().failed < kTexts)
    most = std::max(most, scheduler_->state().spilled_bytes);
  EXPECT_LE(most, 3 * page);
  expect_same(outcomes_of(tickets), expected);
  const SchedulerState state = scheduler_->state();
  EXPECT_GT(state.recomputations, 0U);
  EXPECT_LT(state.recomputations, state.preemptions) << "some fitted";
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, WhoWaitsCanBeCancelled) {
  start({});
  const auto tickets = run_all();
  while (scheduler_->state().preempted == 0 && scheduler_->state().finished < kTexts) std::this_thread::yield();
  ASSERT_LT(scheduler_->state().finished, kTexts);
  for (const auto& ticket : tickets) ticket->cancel();
  for (const auto& ticket : tickets) all_of(*ticket);
  expect_all_pages_can_be_had();
}

TEST_F(PreemptionTest, WhatWaitsInHostMemoryOutlivesTheDevice) {
  const auto expected = one_by_one();
  start({});
  const auto tickets = run_all();
  while (scheduler_->state().preempted == 0 && scheduler_->state().finished < kTexts) std::this_thread::yield();
  gpu::faults::lose_device_at(1);
  size_t whole = 0;
  for (uint32_t i = 0; i < kTexts; ++i) {
    const Ticket::News outcome = all_of(*tickets[i]);
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
  std::array<std::vector<float>, 3> alone;
  const auto vector_of = [](Ticket& ticket) {
    const Ticket::News news = all_of(ticket);
    EXPECT_FALSE(news.error);
    return news.embedding;
  };
  for (uint32_t i = 0; i < 3; ++i) alone[i] = vector_of(*scheduler_->submit(embedding(i)).value());
  start({.chunk_tokens = 32}, 4);
  std::array<std::shared_ptr<Ticket>, 3> tickets;
  for (uint32_t i = 0; i < 3; ++i) tickets[i] = scheduler_->submit(embedding(i)).value();
  run();
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(vector_of(*tickets[i]), alone[i]) << i;
  EXPECT_GT(scheduler_->state().preemptions, 0U);
  expect_all_pages_can_be_had();
}

}  // namespace
}  // namespace cria::engine
