// Tools in conversations: how a chat template is told of them, and how the model it belongs to writes calls of them.
//
// Templates differ in what they take. What one can do is found out by applying it to a conversation that is made up for
// that, and what it cannot do is written into the messages instead, in the form of Hermes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace cria::text {

/// The texts of calls that models were trained to write. docs/server.md lists them.
enum class CallForm : uint8_t {
  kHermes,       ///< <tool_call>{"name": …, "arguments": {…}}</tool_call>, each call in tags of its own
  kLlama3,       ///< {"name": …, "parameters": {…}}: the whole answer is the one call
  kMistral,      ///< [TOOL_CALLS][{"name": …, "arguments": {…}}, …]
  kMistralArgs,  ///< [TOOL_CALLS]name[ARGS]{…}, each call with markers of its own
};

/// What stands around calls.
struct CallSyntax {
  std::string_view begin;      ///< where a call (of kMistral: the list) begins; of kLlama3 it may be left out
  std::string_view end;        ///< where a call ends
  std::string_view arguments;  ///< the key; of kMistralArgs the marker between the name and them
  bool is_list = false;
  bool is_object = true;  ///< the call is a JSON object, and not only its arguments
  bool may_repeat = true;
};
[[nodiscard]] const CallSyntax& syntax_of(CallForm form);

/// Calls as a model writes them.
[[nodiscard]] std::string written_calls(CallForm form, std::span<const ToolCall> calls);

class ToolTemplate {
 public:
  explicit ToolTemplate(ChatTemplate chat);

  [[nodiscard]] CallForm form() const { return form_; }
  /// The template tells the model of tools itself.
  [[nodiscard]] bool lists_tools() const { return lists_tools_; }
  /// The template has a place for calls and for their results.
  [[nodiscard]] bool takes_calls() const { return takes_calls_; }

  /// The text of a conversation up to where the assistant's answer begins. `tools` is a list of definitions in the form
  /// of OpenAI's API, or empty. Errors: those of ChatTemplate::render.
  [[nodiscard]] Result<std::string> render(std::span<const ChatMessage> messages, const OrderedJson& tools) const;

 private:
  void probe();
  [[nodiscard]] bool shows(std::span<const ChatMessage> messages, const ToolContext& context,
                           std::string_view text) const;
  void tell_of_tools(std::vector<ChatMessage>& messages, const OrderedJson& tools) const;
  [[nodiscard]] std::vector<ChatMessage> without_calls(std::span<const ChatMessage> messages) const;

  ChatTemplate chat_;
  CallForm form_ = CallForm::kHermes;
  bool lists_tools_ = false;
  bool takes_calls_ = false;
  bool takes_system_ = false;
  ToolContext context_;
};

}  // namespace cria::text
