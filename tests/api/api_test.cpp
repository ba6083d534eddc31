// The public C++ API: loading, sessions, generation with a callback, logits, and failures as sentences.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cria/cria.h"
#include "tiny_model.h"

namespace cria {
namespace {

GenerateOptions greedy(uint32_t max_tokens) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.temperature = 0;
  options.repetition_penalty = 1;
  return options;
}

/// The text that a session makes of a prompt; fails the test where it fails.
std::string continued(Session& session, std::string_view prompt, const GenerateOptions& options) {
  std::string text;
  const auto result = session.generate(prompt, options, [&](std::string_view piece) {
    text += piece;
    return true;
  });
  EXPECT_TRUE(result) << result.error().message;
  return text;
}

void expect_says(const std::string& message, std::string_view phrase) {
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
}

/// The failure's sentence; fails the test where there is none.
template <typename T>
std::string sentence(const Expected<T>& result) {
  EXPECT_FALSE(result) << "succeeded";
  return result ? "" : result.error().message;
}

/// Tests that share one loaded model: each has a session of its own.
class Api : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto model = Model::load(default_model_path());
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::make_unique<Model>(*std::move(model));
  }
  static void TearDownTestSuite() { model_ = nullptr; }

  static Session new_session() {
    auto session = model_->create_session();
    EXPECT_TRUE(session) << session.error().message;
    return *std::move(session);
  }

  static inline std::unique_ptr<Model> model_;
};

TEST_F(Api, TellsWhatWasLoaded) {
  EXPECT_EQ(model_->vocab_size(), 4096U);
  EXPECT_EQ(model_->max_context(), 1024U);
  EXPECT_FALSE(model_->device_name().empty());
}

TEST_F(Api, GeneratesTextThroughTheCallback) {
  Session session = new_session();
  std::vector<std::string> pieces;
  const auto result = session.generate("Once upon a time", greedy(8), [&](std::string_view piece) {
    pieces.emplace_back(piece);
    return true;
  });
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->prompt_tokens, 5U) << "four words and the begin of the text";
  EXPECT_EQ(result->generated_tokens, 8U);
  EXPECT_EQ(result->stop_reason, "token limit reached");
  std::string text;
  for (const std::string& piece : pieces) {
    EXPECT_FALSE(piece.empty());
    text += piece;
  }
  EXPECT_GT(pieces.size(), 1U) << "the text came at once, not as it was made";
  EXPECT_EQ(text.substr(0, 20), ", there was a little") << text;
}

TEST_F(Api, ACallbackCanStop) {
  Session session = new_session();
  int calls = 0;
  const auto result = session.generate("Once upon a time", greedy(50), [&](std::string_view) { return ++calls < 3; });
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(calls, 3) << "nothing is handed over after the callback said no";
  EXPECT_EQ(result->stop_reason, "interrupted");
  EXPECT_LT(result->generated_tokens, 50U);
}

TEST_F(Api, NeedsNoCallback) {
  Session session = new_session();
  const auto result = session.generate("Once upon a time", greedy(2), nullptr);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->generated_tokens, 2U);
}

TEST_F(Api, TheSameSeedGivesTheSameText) {
  GenerateOptions options;
  options.max_tokens = 12;
  options.temperature = 1.5F;
  std::string texts[3];
  for (int i = 0; i < 3; ++i) {
    options.seed = i < 2 ? 7 : 8;
    Session session = new_session();
    texts[i] = continued(session, "The old king", options);
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST_F(Api, ASessionGoesOnWhereItStopped) {
  Session whole = new_session();
  const std::string once = continued(whole, "Lily and Tom went to the park.", greedy(8));
  Session parts = new_session();
  EXPECT_EQ(continued(parts, "Lily and Tom", greedy(0)), "") << "nothing was asked for";
  EXPECT_EQ(continued(parts, " went to the park.", greedy(8)), once);
}

TEST_F(Api, LogitsChooseTheToken) {
  Session session = new_session();
  const auto logits = session.logits("Once upon a time");
  ASSERT_TRUE(logits) << logits.error().message;
  ASSERT_EQ(logits->size(), model_->vocab_size());
  for (const float logit : *logits) ASSERT_TRUE(std::isfinite(logit));
  // The likeliest next token is the comma: reading it and not another makes the greedy text go on alike.
  const std::string after = continued(session, ",", greedy(6));
  Session direct = new_session();
  EXPECT_EQ(continued(direct, "Once upon a time", greedy(7)), "," + after);
}

TEST_F(Api, ClearStartsOver) {
  Session session = new_session();
  const auto before = session.logits("The old king");
  ASSERT_TRUE(before) << before.error().message;
  const auto later = session.logits(" had three sons");
  ASSERT_TRUE(later) << later.error().message;
  EXPECT_NE(*later, *before);
  ASSERT_TRUE(session.clear());
  EXPECT_EQ(session.logits("The old king").value(), *before);
}

TEST_F(Api, APromptOfByteTokensIsNotRepeated) {
  // The tokenizer has no Hangul: each syllable is three byte tokens, which decoders hold back together.
  Session session = new_session();
  const std::string text = continued(session, "안녕하세요", greedy(4));
  EXPECT_EQ(text.find("안녕"), std::string::npos) << text;
}

TEST_F(Api, AFailureLeavesTheSessionAsItWas) {
  Session session = new_session();
  ASSERT_TRUE(session.logits("Once upon"));
  expect_says(sentence(session.generate("", greedy(1), nullptr)), "the prompt is empty");
  expect_says(sentence(session.logits("")), "the prompt is empty");
  expect_says(sentence(session.logits("\xff")), "UTF-8");
  const std::string too_long(5000, '!');
  expect_says(sentence(session.generate(too_long, greedy(1), nullptr)), "more than the context of 1024");
  GenerateOptions hot = greedy(1);
  hot.temperature = 101;
  expect_says(sentence(session.generate("x", hot, nullptr)), "temperature is 101");
  hot.temperature = std::numeric_limits<float>::quiet_NaN();
  expect_says(sentence(session.generate("x", hot, nullptr)), "temperature is nan");
  GenerateOptions penalised;
  penalised.presence_penalty = 2.5F;
  expect_says(sentence(session.generate("x", penalised, nullptr)), "presence_penalty is 2.5");
  penalised.presence_penalty = 1;
  penalised.frequency_penalty = -3;
  expect_says(sentence(session.generate("x", penalised, nullptr)), "frequency_penalty is -3");

  Session fresh = new_session();
  ASSERT_TRUE(fresh.logits("Once upon"));
  const std::string expected = continued(fresh, " a time", greedy(6));
  ASSERT_TRUE(session.clear());  // one session at a time has the cache
  ASSERT_TRUE(session.logits("Once upon"));
  ASSERT_FALSE(session.logits("\xff"));
  ASSERT_FALSE(session.generate(too_long, greedy(1), nullptr));
  EXPECT_EQ(continued(session, " a time", greedy(6)), expected);
}

TEST_F(Api, AFullContextEndsTheText) {
  LoadOptions options;
  options.max_context = 12;
  auto model = Model::load(default_model_path(), options);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->max_context(), 12U);
  Session session = model->create_session().value();
  const auto result = session.generate("Once upon a time", greedy(50), nullptr);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->stop_reason, "context full");
  EXPECT_EQ(result->prompt_tokens + result->generated_tokens, 13U) << "12 were read, and the last needs no room";
  expect_says(sentence(session.logits("more")), "more than the context of 12");
}

TEST(ApiFailures, AreSentences) {
  expect_says(sentence(Model::load("no/such/folder")), "no/such/folder: does not exist");
  const TinyModel tiny;
  tiny.remove("tokenizer.json");
  expect_says(sentence(Model::load(tiny.path())), "has no tokenizer.json");

  const auto with = [](auto&& change) {
    LoadOptions options;
    change(options);
    return sentence(Model::load(default_model_path(), options));
  };
  expect_says(with([](LoadOptions& options) { options.device = "voodoo"; }), "no device matches \"voodoo\"");
  expect_says(with([](LoadOptions& options) { options.disabled_features = "f8"; }), "there is no feature \"f8\"");
  expect_says(with([](LoadOptions& options) { options.weights = "f8"; }), "there is no weight type \"f8\"");
  expect_says(with([](LoadOptions& options) { options.kv_type = "f8"; }), "there is no KV type \"f8\"");
}

TEST(ApiFailures, NotANumberIsAFailureEachTime) {
  const TinyModel tiny;
  tiny.poison("model.layers.1.mlp.up_proj.weight", std::numeric_limits<float>::quiet_NaN());
  auto model = Model::load(tiny.path());
  ASSERT_TRUE(model) << model.error().message;
  Session session = model->create_session().value();
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::string text;
    const auto result = session.generate("a", greedy(4), [&](std::string_view piece) {
      text += piece;
      return true;
    });
    expect_says(sentence(result), "NaN or infinite logits");
    EXPECT_EQ(text, "");
  }
}

}  // namespace
}  // namespace cria
