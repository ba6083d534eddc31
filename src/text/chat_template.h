// Chat templates: a conversation to the text that a model was trained to continue.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/jinja_ast.h"

namespace cria::text {

/// A call of a function that an assistant's message asks for.
struct ToolCall {
  std::string id;
  std::string name;
  OrderedJson arguments;  ///< an object

  bool operator==(const ToolCall&) const = default;
};

/// One turn of a conversation. The usual roles are "system", "user", "assistant" and "tool".
struct ChatMessage {
  std::string role;
  std::string content;
  std::vector<ToolCall> calls = {};  ///< of an assistant
  std::string call_id = {};          ///< of a tool: which call this is the result of
  std::string name = {};             ///< of a tool: the function's

  bool operator==(const ChatMessage&) const = default;
};

/// Tools as a template gets them, and how it wants calls, which differs from one to another (text/tool_template.h).
struct ToolContext {
  const OrderedJson* tools = nullptr;  ///< a list of definitions in the form of OpenAI's API
  bool arguments_are_text = false;     ///< a call's arguments are a string with JSON in it, and not an object
  bool no_content_is_none = false;     ///< where a message with calls has no content, that is none, and not ""
};

/// A model's own template, in Jinja. Immutable once read, so that threads may share it.
///
/// The template is taken for hostile: what it may read is the conversation and the variables below; steps, memory,
/// depth and the length of its text are bounded (see kMaxSteps in chat_template.cpp).
class ChatTemplate {
 public:
  using Variables = std::map<std::string, std::string>;

  /// Reads a template. `variables` are special tokens such as bos_token; `name` begins messages.
  /// Errors: kInvalidInput, kUnsupported (a block, filter or test that is not known), naming the line.
  static Result<ChatTemplate> parse(std::string_view source, Variables variables, std::string_view name);

  /// The template of a model folder: chat_template.jinja where there is one, else "chat_template" of
  /// tokenizer_config.json, a string or a list of named ones of which "default" is taken. Both are the files' texts,
  /// empty where there is none; `folder` begins messages. Nothing where the model has no template.
  static Result<std::optional<ChatTemplate>> from_files(std::string_view chat_template_jinja,
                                                        std::string_view tokenizer_config_json,
                                                        const std::string& folder);

  /// A template that comes with Cria, by name; nothing for another name.
  static std::optional<std::string_view> builtin(std::string_view name);
  /// The names of these, separated by ", ".
  static std::string builtin_names();

  /// The source that was parsed.
  [[nodiscard]] const std::string& source() const { return *source_; }

  /// The text of a conversation. With `add_generation_prompt` it ends where the assistant's answer begins. `more` are
  /// variables of this call.
  /// Errors (kInvalidInput): the template refuses the conversation, fails, or takes more than it may; text that is
  /// not UTF-8.
  [[nodiscard]] Result<std::string> render(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                           const Variables& more = {}, const ToolContext& tools = {}) const;

 private:
  std::string name_;
  Variables variables_;
  std::shared_ptr<const std::string> source_;
  std::shared_ptr<const jinja::Block> block_;
};

/// bos_token, eos_token, … as tokenizer_config.json (its text, may be empty) gives them. Errors: kInvalidInput.
Result<ChatTemplate::Variables> special_tokens(std::string_view tokenizer_config_json, std::string_view name);

}  // namespace cria::text
