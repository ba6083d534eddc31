// A model's own template and a conversation: rendering ends, in bounds, with text.
//
// The input is the template and the texts of the messages, with a NUL between them.
#include "text/chat_template.h"

#include "fuzz_target.h"
#include "text/jinja_interpreter.h"
#include "text/unicode.h"

namespace cria::fuzz {
namespace {

using text::ChatMessage;
using text::jinja::Value;

/// Much less than ChatTemplate allows, which is a second's work for a template that does its worst.
constexpr uint64_t kSteps = 5'000;
constexpr uint64_t kBytes = 1 << 16;
constexpr size_t kOutputBytes = 1 << 14;

void render(std::string_view source, const std::vector<ChatMessage>& messages) {
  if (text::find_invalid_utf8(source)) return;
  const auto block = text::jinja::parse(source);
  if (!is_sound(block)) return;
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    if (text::find_invalid_utf8(message.content)) return;
    list.push_back(Value::dict({{Value::string("role"), Value::string(message.role)},
                                {Value::string("content"), Value::string(message.content)}}));
  }
  text::jinja::Entries variables;
  variables.emplace_back(Value::string("messages"), Value::list(std::move(list)));
  variables.emplace_back(Value::string("bos_token"), Value::string("<s>"));
  variables.emplace_back(Value::string("eos_token"), Value::string("</s>"));
  variables.emplace_back(Value::string("add_generation_prompt"), Value::boolean(true));
  variables.emplace_back(Value::string("tools"), Value());
  text::jinja::Budget budget(kSteps, kBytes);
  const auto out = text::jinja::Interpreter(budget, kOutputBytes).run(*block, variables);
  if (!is_sound(out)) return;
  CRIA_CHECK(out->size() <= kOutputBytes && !text::find_invalid_utf8(*out));
}

/// Cria's own templates take every conversation of valid text whose roles alternate.
void render_builtins(const std::vector<ChatMessage>& messages) {
  bool is_valid = true;
  for (const ChatMessage& message : messages) is_valid = is_valid && !text::find_invalid_utf8(message.content);
  static const std::vector<text::ChatTemplate> builtins = [] {
    std::vector<text::ChatTemplate> list;
    for (const char* name : {"chatml", "zephyr", "llama2"}) {
      const text::ChatTemplate::Variables tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
      list.push_back(text::ChatTemplate::parse(*text::ChatTemplate::builtin(name), tokens, name).value());
    }
    return list;
  }();
  for (const text::ChatTemplate& chat : builtins) CRIA_CHECK(is_sound(chat.render(messages, true)) == is_valid);
}

}  // namespace

CRIA_FUZZ_TARGET(chat_template, 2048) {
  const std::string_view source = take_until(input, '\0');
  std::vector<ChatMessage> messages;
  while (!input.empty() && messages.size() < 8) {
    messages.push_back({messages.size() % 2 == 0 ? "user" : "assistant", std::string(take_until(input, '\0'))});
  }
  render(source, messages);
  if (messages.size() > 2) render_builtins(messages);
}

}  // namespace cria::fuzz
