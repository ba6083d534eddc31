// Many generations at once: each must come out as if it were alone, and leave nothing behind.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scheduler_fixture.h"

namespace cria::engine {
namespace {

class SchedulerTest : public SchedulerFixture {
 protected:
  static Job job(uint32_t first, uint32_t length, uint32_t max_tokens, float temperature = 0) {
    Job job;
    for (uint32_t i = 0; i < length; ++i) job.prompt.push_back((first + i * 7) % 384);
    job.options.sampling = {
        .temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1.3F, .seed = first};
    job.options.max_tokens = max_tokens;
    return job;
  }
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

/// Texts that begin alike: the first 130 tokens (four pages and two positions) of each are the same.
std::vector<Job> alike_jobs(Job (*make)(uint32_t, uint32_t, uint32_t, float)) {
  std::vector<Job> jobs;
  for (uint32_t i = 0; i < 5; ++i) {
    Job job = make(3, 130, 12, i % 2 == 0 ? 0.0F : 0.9F);
    for (uint32_t more = 0; more <= i * 4; ++more) job.prompt.push_back((i * 31 + more) % 384);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

TEST_F(SchedulerTest, WhatPromptsBeginWithIsReadOnceAndChangesNoAnswer) {
  std::vector<std::vector<uint32_t>> apart;
  start(1, {.shared_tokens = 0});
  run();
  for (Job& one : alike_jobs(job)) apart.push_back(answer(std::move(one)).tokens);
  EXPECT_EQ(scheduler_->state().shared_tokens, 0U);
  finish();
  for (const bool together : {true, false}) {
    SCOPED_TRACE(together);
    start(4, {.max_queue = 64, .chunk_tokens = 32});
    if (!together) run();
    std::vector<std::shared_ptr<Ticket>> tickets;
    std::vector<std::vector<uint32_t>> shared(apart.size());
    uint64_t prompt_tokens = 0;
    std::vector<Job> jobs = alike_jobs(job);
    for (size_t i = 0; i < jobs.size(); ++i) {
      prompt_tokens += jobs[i].prompt.size();
      tickets.push_back(scheduler_->submit(std::move(jobs[i])).value());
      if (!together) shared[i] = all_of(*tickets[i]).tokens;
    }
    if (together) run();
    for (size_t i = 0; together && i < tickets.size(); ++i) shared[i] = all_of(*tickets[i]).tokens;
    EXPECT_EQ(shared, apart);
    finish();
    const SchedulerState state = scheduler_->state();
    EXPECT_EQ(state.prompt_tokens, prompt_tokens);
    // 128 tokens lie in pages that all five share; each text reads its own rest.
    EXPECT_GE(state.kept_tokens, 4 * 128U);
    EXPECT_EQ(state.shared_tokens > 0, together) << "one after the other they find it in their slot";
    uint64_t kept = 0;
    for (const auto& ticket : tickets) kept += ticket->kept_tokens();
    EXPECT_EQ(kept, state.kept_tokens);
  }
}

TEST_F(SchedulerTest, PagesOutliveTheirSlotUntilOthersNeedThem) {
  start(1, {.shared_tokens = 160});
  run();
  const Job first = job(3, 100, 2);
  const std::vector<uint32_t> tokens = answer(first).tokens;
  answer(job(50, 60, 2));  // takes the only slot
  auto again = scheduler_->submit(first).value();
  EXPECT_EQ(all_of(*again).tokens, tokens);
  EXPECT_EQ(again->kept_tokens(), 96U) << "three whole pages";
  for (uint32_t other = 0; other < 4; ++other) answer(job(60 + other, 150, 2));
  auto last = scheduler_->submit(first).value();
  EXPECT_EQ(all_of(*last).tokens, tokens);
  EXPECT_EQ(last->kept_tokens(), 0U) << "five pages are kept, and others were used since";
  // The one slot's context of 200 has 7 pages: what is remembered makes room for what is read.
  start(1, {.shared_tokens = 100'000});
  run();
  for (uint32_t other = 0; other < 6; ++other) {
    const Ticket::News news = answer(job(other, 190, 3));
    EXPECT_FALSE(news.error);
    EXPECT_EQ(news.tokens.size(), 3U);
  }
}

TEST_F(SchedulerTest, LogprobsAreThoseOfTheRawLogits) {
  start(1);
  auto sequence = Sequence::create(*engine_).value();
  ASSERT_TRUE(sequence.clear());
  Job asked = job(5, 20, 6, 0.9F);
  asked.options.sampling.logit_bias = {{.token = 17, .value = 3}};
  ASSERT_TRUE(sequence.generate(asked.prompt, asked.options, [](uint32_t) { return true; }));
  const std::vector<uint32_t> text = sequence.tokens();
  ASSERT_TRUE(sequence.clear());
  const auto logits = sequence.read_logits(text, 7).value();
  start(2);
  run();
  auto unasked = scheduler_->submit(asked).value();
  asked.top_logprobs = 4;
  auto ticket = scheduler_->submit(asked).value();
  const Ticket::News news = all_of(*ticket);
  EXPECT_EQ(news.tokens, std::vector<uint32_t>(text.end() - 6, text.end()));
  ASSERT_EQ(news.logprobs.size(), 6U);
  for (size_t i = 0; i < 6; ++i) {
    const TokenLogprobs expected = token_logprobs(logits[i], news.tokens[i], 4);
    // Logits of a step and of a prompt are summed in different orders.
    EXPECT_NEAR(news.logprobs[i].chosen, expected.chosen, 1e-3);
    ASSERT_EQ(news.logprobs[i].top.size(), 4U);
    for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(news.logprobs[i].top[j].second, expected.top[j].second, 1e-3);
  }
  const Ticket::News other = all_of(*unasked);
  EXPECT_EQ(other.tokens, news.tokens);
  EXPECT_TRUE(other.logprobs.empty());
}

/// The output matrix takes an embedding to where it takes the mean hidden state: to the mean of the logits.
TEST_F(SchedulerTest, EmbeddingsAreTheMeanOfTheHiddenStates) {
  const formats::Safetensors file = formats::Safetensors::open(model_.path() / "model.safetensors").value();
  const auto head = std::ranges::find(file.tensors(), "lm_head.weight", &formats::TensorView::name);
  ASSERT_NE(head, file.tensors().end());
  std::vector<float> matrix(size_t{384} * 64);
  std::memcpy(matrix.data(), model_.text("model.safetensors").data() + head->file_offset, matrix.size() * 4);
  constexpr uint32_t kLengths[] = {1, 6, 90};
  start(1);
  std::vector<std::vector<std::vector<float>>> logits;
  for (const uint32_t length : kLengths) {
    auto sequence = Sequence::create(*engine_).value();
    ASSERT_TRUE(sequence.clear());
    logits.push_back(sequence.read_logits(job(11, length, 0).prompt, length).value());
  }
  start(2, {.max_queue = 8, .chunk_tokens = 40});
  run();
  answer(job(11, 70, 1));  // its pages are not taken: all hidden states are needed
  for (size_t text = 0; text < logits.size(); ++text) {
    SCOPED_TRACE(kLengths[text]);
    Job asked = job(11, kLengths[text], 0);
    asked.embeds = true;
    auto ticket = scheduler_->submit(asked).value();
    const std::vector<float> embedding = all_of(*ticket).embedding;
    EXPECT_EQ(ticket->kept_tokens(), 0U);
    ASSERT_EQ(embedding.size(), 64U);
    double square = 0;
    for (const float value : embedding) square += double{value} * value;
    EXPECT_NEAR(square, 1, 1e-5);
    double dot = 0;
    double squares[2] = {0, 0};
    for (size_t token = 0; token < 384; ++token) {
      double sum = 0;
      double product = 0;
      for (const auto& row : logits[text]) sum += row[token];
      for (size_t i = 0; i < 64; ++i) product += double{matrix[token * 64 + i]} * embedding[i];
      dot += sum * product;
      squares[0] += sum * sum;
      squares[1] += product * product;
    }
    EXPECT_NEAR(dot / std::sqrt(squares[0] * squares[1]), 1, 1e-5);
  }
}

TEST_F(SchedulerTest, CancelledJobsLeaveTheirSlots) {
  start(2);
  run();
  std::vector<std::shared_ptr<Ticket>> tickets(6);
  for (uint32_t i = 0; i < 6; ++i) tickets[i] = scheduler_->submit(job(i, 9, 150)).value();
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
  Job biased = job(1, 3, 1);
  biased.options.sampling.logit_bias = {{.token = 384, .value = 1}};
  EXPECT_FALSE(scheduler_->submit(biased));
  Job hot = job(1, 3, 1);
  hot.options.sampling.temperature = -1;
  EXPECT_FALSE(scheduler_->submit(hot));
}

TEST_F(SchedulerTest, ALostDeviceEndsWhatRunsAndThenTheRestGoesOn) {
  start(2);
  auto alone = scheduler_->submit(job(9, 40, 30)).value();
  run();
  const std::vector<uint32_t> expected = all_of(*alone).tokens;
  finish();
  start(2);
  std::vector<std::shared_ptr<Ticket>> tickets(4);
  for (uint32_t i = 0; i < 4; ++i) tickets[i] = scheduler_->submit(job(9, 40, 30)).value();
  gpu::faults::lose_device_at(4);
  run();
  for (const size_t running : {0, 1}) {
    const Ticket::News news = all_of(*tickets[running]);
    ASSERT_TRUE(news.error);
    EXPECT_NE(news.error->message().find("the device was lost: the test pulled the plug"), std::string::npos);
  }
  for (const size_t waiting : {2, 3}) EXPECT_EQ(all_of(*tickets[waiting]).tokens, expected);
  finish();
  EXPECT_TRUE(run_status_);
  const SchedulerState state = scheduler_->state();
  EXPECT_EQ(state.device_losses, 1U);
  EXPECT_EQ(state.busy_slots, 0U);
  EXPECT_FALSE(state.is_recovering || state.is_broken);
}

TEST_F(SchedulerTest, ThreeLossesWithinAMinuteEndAllJobs) {
  start(1, {.on_device_loss = [](const Error&) { gpu::faults::lose_device_at(1); }});
  std::vector<std::shared_ptr<Ticket>> tickets(4);
  for (uint32_t i = 0; i < 4; ++i) tickets[i] = scheduler_->submit(job(i, 4, 100)).value();
  gpu::faults::lose_device_at(1);
  run();
  for (auto& ticket : tickets) EXPECT_TRUE(all_of(*ticket).error);
  thread_.join();
  ASSERT_FALSE(run_status_);
  EXPECT_NE(run_status_.error().message().find("the device was lost 3 times within 60 s"), std::string::npos);
  EXPECT_TRUE(scheduler_->state().is_broken);
  EXPECT_EQ(scheduler_->state().busy_slots, 0U);
  EXPECT_EQ(scheduler_->submit(job(1, 4, 1)).value(), nullptr);
}

TEST_F(SchedulerTest, LoadingAgainSaysWhatItLacksWhateverThatIs) {
  for (const uint32_t nth : {1U, 2U, 10U, 30U}) {
    SCOPED_TRACE(nth);
    start(1, {.on_device_loss = [=](const Error&) { gpu::faults::refuse_buffer(nth); }});
    auto running = scheduler_->submit(job(1, 4, 100)).value();
    auto waiting = scheduler_->submit(job(2, 4, 100)).value();
    gpu::faults::lose_device_at(2);
    run();
    EXPECT_TRUE(all_of(*running).error);
    EXPECT_TRUE(all_of(*waiting).error);
    thread_.join();
    ASSERT_FALSE(run_status_);
    EXPECT_EQ(run_status_.error().code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(run_status_.error().message().find("refused to allocate"), std::string::npos)
        << run_status_.error().message();
  }
}

TEST_F(SchedulerTest, AModelThatChangedMeanwhileIsNotTakenForTheSame) {
  const TinyModel model;
  auto engine = Engine::load(model.path(), {}).value();
  engine->device().force_loss("the test pulled the plug");
  ASSERT_TRUE(engine->reload()) << "the same files";
  EXPECT_TRUE(Sequence::create(*engine));
  model.replace("config.json", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-04");
  const Status status = engine->reload();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message().find("is another model than the one that was loaded before"), std::string::npos);
}

TEST_F(SchedulerTest, APassWithoutMemoryEndsItsJobsAndNoOthers) {
  start(1);
  auto first = scheduler_->submit(job(1, 4, 100)).value();
  auto second = scheduler_->submit(job(2, 4, 5)).value();
  // Of the first job's first pass: what comes back is read through a buffer that is made for it.
  gpu::faults::refuse_buffer(1);
  run();
  const Ticket::News news = all_of(*first);
  ASSERT_TRUE(news.error);
  EXPECT_EQ(news.error->code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(all_of(*second).tokens.size(), 5U);
  finish();
  EXPECT_TRUE(run_status_);
  EXPECT_EQ(scheduler_->state().device_losses, 0U);
}

}  // namespace
}  // namespace cria::engine
