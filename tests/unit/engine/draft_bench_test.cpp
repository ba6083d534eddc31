// What the measure of drafts does: it follows its script, verifies what is drafted, and counts.
#include "engine/draft_bench.h"

#include <gtest/gtest.h>

#include "model/shapes.h"

namespace cria::engine {
namespace {

constexpr const char* kTiny = "hidden=40,layers=2,heads=4,kv_heads=2,head_dim=8,intermediate=36,vocab=51";

std::unique_ptr<Engine> make_up(DraftSource source) {
  EngineOptions options;
  options.model.max_context = 300;
  options.draft.source = source;
  options.draft.made_up = model::parse_shape(kTiny).value();
  auto engine = Engine::make_up(model::parse_shape(kTiny).value(), options);
  EXPECT_TRUE(engine) << engine.error().message();
  return *std::move(engine);
}

TEST(DraftBench, FollowsAReplayInDraftsThatComeTrue) {
  const auto engine = make_up(DraftSource::kLookup);
  auto bench = DraftBench::create(*engine).value();
  DraftScript script;
  for (uint32_t i = 0; i < 60; ++i) script.prompt.push_back(i * i % 47);
  script.answer = script.prompt;  // what is said is what was asked
  script.tokens = 60;
  const auto result = bench.measure(script, 2);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->seconds.size(), 2U);
  EXPECT_EQ(result->plain_seconds.size(), 2U);
  EXPECT_GT(result->speed(script), 0);
  EXPECT_GT(result->accepted_tokens, 0U);
  EXPECT_LE(result->accepted_tokens, result->drafted_tokens);
  EXPECT_GE(result->passes + result->accepted_tokens, 60U);
  script.prompt.resize(260);
  EXPECT_FALSE(bench.measure(script, 1)) << "the context is too short";
}

TEST(DraftBench, DraftsOfAModelComeTrueAsOftenAsAsked) {
  const auto engine = make_up(DraftSource::kModel);
  auto bench = DraftBench::create(*engine).value();
  for (const uint32_t percent : {0U, 100U}) {
    SCOPED_TRACE(percent);
    const DraftScript script{.name = "t", .prompt = {1}, .answer = {}, .accepted_percent = percent, .tokens = 100};
    const auto result = bench.measure(script, 1);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_GT(result->drafted_tokens, 0U);
    EXPECT_EQ(result->accepted_tokens, percent == 0 ? 0 : result->drafted_tokens);
  }
}

TEST(DraftBench, MadeUpTokensAreTheSameForTheSameWord) {
  const auto tokens = made_up_tokens("a cat, a cat_1;\n", 1000);
  ASSERT_EQ(tokens.size(), 7U);  // a| cat|,| a| cat_1|;|\n
  EXPECT_EQ(made_up_tokens(" cat", 1000).front(), tokens[1]);
  EXPECT_TRUE(made_up_tokens("", 1000).empty());
}

}  // namespace
}  // namespace cria::engine
