// Conversations whose device goes away.
#include "engine/conversation.h"

#include <gtest/gtest.h>

#include "gpu/faults.h"
#include "tiny_model.h"

namespace cria::engine {
namespace {

TEST(Conversation, GoesOnAfterTheDeviceWasLost) {
  const TinyModel model;
  EngineOptions engine_options;
  engine_options.needs_tokenizer = true;
  const auto engine = Engine::load(model.path(), engine_options).value();
  GenerateOptions options;
  options.sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 0};
  options.max_tokens = 12;
  const auto begin = [&] {
    auto conversation = Conversation::create(
        *engine, text::ChatTemplate::parse(*text::ChatTemplate::builtin("chatml"), {}, "chatml").value());
    EXPECT_TRUE(conversation);
    conversation->add("user", "Hi");
    return *std::move(conversation);
  };
  const auto all = [](const std::string&) { return true; };
  std::string expected;
  {
    Conversation undisturbed = begin();
    ASSERT_TRUE(undisturbed.answer(options, {}, all));
    undisturbed.add("user", "And?");
    expected = undisturbed.answer(options, {}, all).value().text;
  }
  Conversation conversation = begin();
  ASSERT_TRUE(conversation.answer(options, {}, all));
  const auto messages = conversation.messages();
  conversation.add("user", "And?");
  gpu::faults::lose_device_at(3);
  const auto answer = conversation.answer(options, {}, all);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kDevice);
  ASSERT_TRUE(conversation.reload());
  conversation.set_messages(messages);
  conversation.add("user", "And?");
  EXPECT_EQ(conversation.answer(options, {}, all).value().text, expected);
}

}  // namespace
}  // namespace cria::engine
