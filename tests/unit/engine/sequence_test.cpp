// Sequences when things go wrong in the middle of a generation.
#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/platform.h"
#include "tiny_model.h"

namespace cria::engine {
namespace {

std::unique_ptr<Engine> load(const TinyModel& model) {
  auto engine = Engine::load(model.path(), {});
  EXPECT_TRUE(engine) << engine.error().message();
  return *std::move(engine);
}

TEST(Sequence, ADeviceLostInTheMiddleEndsTheGenerationWithAnError) {
  const auto engine = load(TinyModel());
  auto sequence = Sequence::create(*engine).value();
  int tokens = 0;
  const auto stats = sequence.generate({5, 6, 7}, {}, [&](text::TokenId) {
    if (++tokens == 3) engine->device().force_loss("the test pulled the plug");
    return true;
  });
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code(), ErrorCode::kDevice);
  EXPECT_NE(stats.error().message().find("the device was lost: the test pulled the plug"), std::string::npos)
      << stats.error().message();
  EXPECT_LT(tokens, 3 + static_cast<int>(model::kMaxStepsTogether)) << "those that had come back with the third";
  EXPECT_FALSE(sequence.generate({5}, {}, [](text::TokenId) { return true; }));
}

TEST(Sequence, TokensOutsideTheVocabularyAreRefused) {
  const auto engine = load(TinyModel());
  auto sequence = Sequence::create(*engine).value();
  for (const uint32_t token : {384U, UINT32_MAX}) {
    const auto stats = sequence.generate({1, token}, {}, [](text::TokenId) { return true; });
    ASSERT_FALSE(stats);
    EXPECT_EQ(stats.error().message(),
              fmt::format("the prompt holds the token {}, outside the vocabulary of 384 tokens", token));
    EXPECT_FALSE(sequence.read_logits({token}, 1));
  }
  EXPECT_TRUE(sequence.tokens().empty());
}

/// The counts behind the repetition penalty must be those of the text, whatever was drawn ahead of it.
TEST(Sequence, AStoppedGenerationGoesOnAsIfItHadNotBeenStopped) {
  const auto engine = load(TinyModel());
  GenerateOptions options;
  options.sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 5, .seed = 0};
  options.max_tokens = 24;
  const auto all = [](text::TokenId) { return true; };
  auto whole = Sequence::create(*engine).value();
  ASSERT_TRUE(whole.clear());
  ASSERT_TRUE(whole.generate({5, 6, 7}, options, all));
  const std::vector<uint32_t> expected = whole.tokens();

  for (const uint32_t stop_after : {0U, 1U, 9U}) {
    SCOPED_TRACE(stop_after);
    auto parts = Sequence::create(*engine).value();
    ASSERT_TRUE(parts.clear());
    GenerateOptions first = options;
    uint32_t seen = 0;
    if (stop_after == 0) first.max_tokens = 0;
    ASSERT_TRUE(parts.generate({5, 6, 7}, first, [&](text::TokenId) { return ++seen < stop_after; }));
    ASSERT_EQ(parts.tokens().size(), 3 + stop_after);
    // Reading what the whole text has next puts this sequence where the other one was.
    options.max_tokens = 24 - stop_after - 1;
    ASSERT_TRUE(parts.generate({expected[3 + stop_after]}, options, all));
    EXPECT_EQ(parts.tokens(), expected);
    options.max_tokens = 24;
  }
}

/// What a generation leaves: the text, and how it goes on when it is read and continued.
std::vector<uint32_t> texts_of(Engine& engine, const GenerateOptions& options, StopReason reason) {
  auto sequence = Sequence::create(engine).value();
  EXPECT_TRUE(sequence.clear());
  std::vector<uint32_t> seen;
  const auto stats = sequence.generate({5, 6, 7}, options, [&](text::TokenId token) {
    seen.push_back(token);
    return true;
  });
  if (!stats) {
    ADD_FAILURE() << stats.error().message();
    return {};
  }
  EXPECT_EQ(stats->stop_reason, reason);
  EXPECT_EQ(stats->generated_tokens, seen.size());
  if (reason == StopReason::kContextFull) return sequence.tokens();
  GenerateOptions more = options;
  more.max_tokens = 4;
  more.stop_tokens.clear();
  EXPECT_TRUE(sequence.generate({8, 9}, more, [](text::TokenId) { return true; }));
  return sequence.tokens();
}

TEST(Sequence, StepsTogetherChangeNothing) {
  EngineOptions engine_options;
  engine_options.model.max_context = 40;
  const TinyModel model;
  const auto engine = Engine::load(model.path(), engine_options).value();
  GenerateOptions options;
  options.sampling = {
      .temperature = 0.9F, .top_k = 50, .top_p = 0.95F, .min_p = 0, .repetition_penalty = 1.3F, .seed = 3};
  options.steps_together = 1;
  options.max_tokens = 100;
  const std::vector<uint32_t> whole = texts_of(*engine, options, StopReason::kContextFull);
  ASSERT_EQ(whole.size(), 41U);
  for (const uint32_t together : {2U, 3U, model::kMaxStepsTogether, 0U}) {
    SCOPED_TRACE(together);
    GenerateOptions others = options;
    others.steps_together = together;
    EXPECT_EQ(texts_of(*engine, others, StopReason::kContextFull), whole);
    for (const uint32_t most : {1U, 2U, 5U, 9U, 20U}) {
      SCOPED_TRACE(most);
      options.max_tokens = others.max_tokens = most;
      EXPECT_EQ(texts_of(*engine, others, StopReason::kMaxTokens), texts_of(*engine, options, StopReason::kMaxTokens));
      options.max_tokens = others.max_tokens = 100;
      options.stop_tokens = others.stop_tokens = {whole[3 + most]};
      EXPECT_EQ(texts_of(*engine, others, StopReason::kEndOfText), texts_of(*engine, options, StopReason::kEndOfText));
      options.stop_tokens.clear();
      others.stop_tokens.clear();
    }
  }
}

/// A conversation that is read turn by turn ends where one ends that is read anew each time.
TEST(Sequence, WhatIsKeptOfAnotherTextDoesNotChangeTheAnswer) {
  const auto engine = load(TinyModel());
  GenerateOptions options;
  options.sampling = {.temperature = 0.8F, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1.5F, .seed = 7};
  options.max_tokens = 12;
  const auto all = [](text::TokenId) { return true; };
  const auto anew = [&](const std::vector<uint32_t>& text) {
    auto sequence = Sequence::create(*engine).value();
    EXPECT_TRUE(sequence.clear());
    EXPECT_TRUE(sequence.generate(text, options, all));
    return sequence.tokens();
  };
  const std::vector<std::pair<std::vector<uint32_t>, uint32_t>> texts = {
      {{5, 6, 7, 8}, 0}, {{5, 6, 7, 8}, 3}, {{5, 6, 7, 8, 9, 10}, 4}, {{5, 6, 9}, 2}, {{9, 5, 6, 9}, 0}, {{9}, 0}};
  std::vector<std::vector<uint32_t>> expected;
  for (const auto& [text, kept] : texts) expected.push_back(anew(text));
  auto sequence = Sequence::create(*engine).value();
  ASSERT_TRUE(sequence.clear());
  for (size_t i = 0; i < texts.size(); ++i) {
    SCOPED_TRACE(i);
    const auto& [text, kept] = texts[i];
    const uint32_t found = sequence.keep_prefix(text).value();
    EXPECT_GE(found, kept) << "more where the last answer went on as this text does";
    ASSERT_TRUE(sequence.generate({text.begin() + found, text.end()}, options, all));
    EXPECT_EQ(sequence.tokens(), expected[i]);
  }
}

#ifndef _WIN32
TEST(Sequence, WhatAnInterruptionLeftUnreadIsNotKept) {
  EngineOptions engine_options;
  engine_options.model.max_batch_tokens = 32;
  const TinyModel model;
  const auto engine = Engine::load(model.path(), engine_options).value();
  std::vector<uint32_t> text(100, 5);
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = 8;
  const auto all = [](text::TokenId) { return true; };
  auto whole = Sequence::create(*engine).value();
  ASSERT_TRUE(whole.clear());
  ASSERT_TRUE(whole.generate(text, options, all));
  const std::vector<uint32_t> expected = whole.tokens();

  auto sequence = Sequence::create(*engine).value();
  ASSERT_TRUE(sequence.clear());
  platform::catch_interrupts();
  options.on_read = [](uint32_t read, uint32_t) { EXPECT_EQ(read == 32 ? std::raise(SIGINT) : 1, 0) << read; };
  const auto stats = sequence.generate(text, options, all);
  platform::clear_interrupts();
  ASSERT_TRUE(stats) << stats.error().message();
  EXPECT_EQ(stats->stop_reason, StopReason::kInterrupted);
  ASSERT_EQ(sequence.keep_prefix(text).value(), 32U);
  std::vector<uint32_t> reads;
  options.on_read = [&](uint32_t read, uint32_t total) {
    EXPECT_EQ(total, 68U);
    reads.push_back(read);
  };
  ASSERT_TRUE(sequence.generate({text.begin() + 32, text.end()}, options, all));
  EXPECT_EQ(sequence.tokens(), expected);
  EXPECT_EQ(reads, (std::vector<uint32_t>{32, 64, 68}));
}
#endif

}  // namespace
}  // namespace cria::engine
