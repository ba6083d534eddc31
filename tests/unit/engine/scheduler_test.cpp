// Many generations at once: each must come out as if it were alone, and leave nothing behind.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <thread>

#include "tiny_model.h"

namespace cria::engine {
namespace {

using std::chrono::seconds;

class SchedulerTest : public testing::Test {
 protected:
  void start(uint32_t slots, SchedulerOptions options = {}) {
    EngineOptions engine_options;
    engine_options.model.slots = slots;
    engine_options.model.max_context = 200;
    auto engine = Engine::load(model_.path(), engine_options);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = *std::move(engine);
    scheduler_ = Scheduler::create(*engine_, options).value();
  }
  void run() {
    thread_ = std::thread([this] { scheduler_->run(); });
  }
  void finish(bool at_once = false) {
    scheduler_->stop(at_once);
    if (thread_.joinable()) thread_.join();
  }
  void TearDown() override {
    if (scheduler_) finish(true);
  }

  static Job job(uint32_t first, uint32_t length, uint32_t max_tokens, float temperature = 0) {
    Job job;
    for (uint32_t i = 0; i < length; ++i) job.prompt.push_back((first + i * 7) % 384);
    job.options.sampling = {
        .temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1.3F, .seed = first};
    job.options.max_tokens = max_tokens;
    return job;
  }

  static Ticket::News all_of(Ticket& ticket) {
    Ticket::News all;
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (!all.has_ended && std::chrono::steady_clock::now() < deadline) {
      Ticket::News news = ticket.wait(std::chrono::milliseconds(200));
      all.tokens.insert(all.tokens.end(), news.tokens.begin(), news.tokens.end());
      all.has_ended = news.has_ended;
      all.reason = news.reason;
      all.error = news.error;
    }
    EXPECT_TRUE(all.has_ended);
    return all;
  }

  const TinyModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::thread thread_;
};

TEST_F(SchedulerTest, TogetherTheyGiveWhatEachGivesAlone) {
  start(1);
  std::vector<std::vector<uint32_t>> alone;
  const auto jobs = [] {
    return std::vector<Job>{job(1, 5, 20), job(40, 1, 30, 0.9F), job(100, 120, 12), job(7, 33, 1), job(9, 3, 25, 1.2F)};
  };
  for (const Job& one : jobs()) {
    auto sequence = Sequence::create(*engine_).value();
    ASSERT_TRUE(sequence.clear());
    ASSERT_TRUE(sequence.generate(one.prompt, one.options, [](uint32_t) { return true; }));
    alone.emplace_back(sequence.tokens().begin() + std::ssize(one.prompt), sequence.tokens().end());
  }
  for (const uint32_t slots : {1U, 2U, 8U}) {
    SCOPED_TRACE(slots);
    start(slots, {.max_queue = 64, .chunk_tokens = 40});
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (Job& one : jobs()) tickets.push_back(scheduler_->submit(std::move(one)).value());
    run();
    for (size_t i = 0; i < tickets.size(); ++i) {
      SCOPED_TRACE(i);
      const Ticket::News news = all_of(*tickets[i]);
      EXPECT_FALSE(news.error);
      EXPECT_EQ(news.reason, StopReason::kMaxTokens);
      EXPECT_EQ(news.tokens, alone[i]);
    }
    finish();
    const SchedulerState state = scheduler_->state();
    EXPECT_EQ(state.finished, 5U);
    EXPECT_EQ(state.busy_slots, 0U);
    EXPECT_EQ(state.generated_tokens, 20U + 30 + 12 + 1 + 25);
  }
}

TEST_F(SchedulerTest, WhatASlotHoldsIsNotReadAgain) {
  start(2);
  run();
  const Job first = job(3, 50, 6);
  auto ticket = scheduler_->submit(first).value();
  const std::vector<uint32_t> tokens = all_of(*ticket).tokens;
  EXPECT_EQ(ticket->kept_tokens(), 0U);
  auto again = scheduler_->submit(first).value();
  EXPECT_EQ(all_of(*again).tokens, tokens);
  EXPECT_EQ(again->kept_tokens(), 49U) << "the last token is read, for its logits";
  Job longer = first;
  longer.prompt.insert(longer.prompt.end(), tokens.begin(), tokens.end());
  longer.prompt.push_back(5);
  auto third = scheduler_->submit(longer).value();
  all_of(*third);
  EXPECT_EQ(third->kept_tokens(), 55U) << "the last token that was generated had not been read";
}

TEST_F(SchedulerTest, CancelledJobsLeaveTheirSlots) {
  start(2);
  run();
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < 6; ++i) tickets.push_back(scheduler_->submit(job(i, 9, 150)).value());
  for (auto& ticket : tickets) ticket->cancel();
  for (auto& ticket : tickets) EXPECT_EQ(all_of(*ticket).reason, StopReason::kInterrupted);
  auto last = scheduler_->submit(job(3, 4, 5)).value();
  EXPECT_EQ(all_of(*last).tokens.size(), 5U);
  EXPECT_EQ(scheduler_->state().cancelled, 6U);
  EXPECT_EQ(scheduler_->state().busy_slots, 0U);
}

TEST_F(SchedulerTest, AFullQueueRefuses) {
  start(2, {.max_queue = 3, .chunk_tokens = 64});
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < 5; ++i) {
    tickets.push_back(scheduler_->submit(job(i, 4, 3)).value());
    EXPECT_NE(tickets.back(), nullptr);
  }
  EXPECT_EQ(scheduler_->submit(job(9, 4, 3)).value(), nullptr);
  run();
  for (auto& ticket : tickets) EXPECT_EQ(all_of(*ticket).tokens.size(), 3U);
  EXPECT_EQ(scheduler_->state().refused, 1U);
  finish();
  EXPECT_EQ(scheduler_->submit(job(9, 4, 3)).value(), nullptr) << "none are taken after the end";
}

TEST_F(SchedulerTest, StoppingFinishesOrEndsWhatHasBegun) {
  start(2);
  auto finished = scheduler_->submit(job(1, 4, 40)).value();
  run();
  finish();
  EXPECT_EQ(all_of(*finished).tokens.size(), 40U);
  start(2);
  auto ended = scheduler_->submit(job(1, 4, 190)).value();
  scheduler_->stop(true);
  run();
  thread_.join();
  EXPECT_EQ(all_of(*ended).reason, StopReason::kInterrupted);
}

TEST_F(SchedulerTest, TheContextEndsAText) {
  start(1);
  run();
  auto ticket = scheduler_->submit(job(1, 190, 100)).value();
  const Ticket::News news = all_of(*ticket);
  EXPECT_EQ(news.reason, StopReason::kContextFull);
  EXPECT_EQ(news.tokens.size(), 11U) << "the last one is drawn, and has no place";
}

TEST_F(SchedulerTest, WhatCannotBeReadIsRefused) {
  start(1);
  EXPECT_FALSE(scheduler_->submit(job(1, 0, 1)));
  EXPECT_FALSE(scheduler_->submit(job(1, 201, 1)));
  Job outside = job(1, 3, 1);
  outside.prompt[1] = 384;
  EXPECT_FALSE(scheduler_->submit(outside));
  Job hot = job(1, 3, 1);
  hot.options.sampling.temperature = -1;
  EXPECT_FALSE(scheduler_->submit(hot));
}

TEST_F(SchedulerTest, ALostDeviceEndsAllJobs) {
  start(2);
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (uint32_t i = 0; i < 4; ++i) tickets.push_back(scheduler_->submit(job(i, 4, 100)).value());
  engine_->device().force_loss("the test pulled the plug");
  run();
  for (auto& ticket : tickets) EXPECT_TRUE(all_of(*ticket).error);
  EXPECT_TRUE(scheduler_->state().is_broken);
  EXPECT_EQ(scheduler_->state().busy_slots, 0U);
  EXPECT_EQ(scheduler_->submit(job(1, 4, 1)).value(), nullptr);
}

}  // namespace
}  // namespace cria::engine
