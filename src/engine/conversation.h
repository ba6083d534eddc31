// A conversation: its messages, and the tokens that a model reads of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/sequence.h"
#include "engine/text_stream.h"
#include "text/chat_template.h"

namespace cria::engine {

/// Called with pieces of the answer; returning false ends it.
using AnswerCallback = std::function<bool(const std::string&)>;

/// One answer.
struct Answer {
  std::string text;
  GenerationStats stats;
  uint32_t kept_tokens = 0;       ///< of the prompt, which were in the cache
  uint32_t dropped_messages = 0;  ///< the oldest ones, so that there is room
};

class Conversation {
 public:
  static Result<Conversation> create(Engine& engine, text::ChatTemplate chat_template);

  [[nodiscard]] const std::vector<text::ChatMessage>& messages() const { return messages_; }
  void set_messages(std::vector<text::ChatMessage> messages) { messages_ = std::move(messages); }
  void add(std::string role, std::string content) { messages_.push_back({std::move(role), std::move(content)}); }
  /// The system prompt, the first message; an empty one is taken away.
  void set_system(const std::string& text);
  /// Forgets all but the system prompt.
  void reset();
  /// Takes the last answer away, so that it can be given anew. False where there is none.
  bool take_back_answer();

  /// The KV cache of what was read so far, in a file beside the messages; see Sequence. What is loaded serves for as
  /// much of the conversation as it begins with.
  Status save_cache(const std::filesystem::path& path) const { return sequence_.save_cache(path); }
  Status load_cache(const std::filesystem::path& path) { return sequence_.load_cache(path); }

  /// Opens the device again after it was lost (Engine::reload): the next answer reads the whole conversation anew.
  Status reload();

  /// Reads what is new in the conversation and generates the assistant's answer, which becomes the last message (also
  /// where it was interrupted). Where prompt and `options.max_tokens` (or a quarter of the context, if that is less)
  /// do not fit the context, the oldest messages behind the system prompt are dropped, a user's and its answers
  /// together.
  /// Errors: those of the template and of Sequence::generate; kInvalidInput where the last message does not fit.
  Result<Answer> answer(const GenerateOptions& options, const std::vector<std::string>& stops,
                        const AnswerCallback& on_text);

 private:
  Conversation(Engine& engine, Sequence sequence, text::ChatTemplate chat_template)
      : engine_(&engine), sequence_(std::move(sequence)), template_(std::move(chat_template)) {}
  Result<std::vector<uint32_t>> fit(uint32_t max_tokens, uint32_t& dropped);
  [[nodiscard]] uint32_t drop_oldest();

  Engine* engine_;
  Sequence sequence_;
  text::ChatTemplate template_;
  std::vector<text::ChatMessage> messages_;
};

/// The tokens of a conversation up to where the assistant's answer begins. The template alone says which special
/// tokens there are.
Result<std::vector<uint32_t>> conversation_tokens(const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                                  const std::vector<text::ChatMessage>& messages);

/// Messages as JSON, and back. Errors (kInvalidInput): not a list of objects with the strings "role" and "content".
[[nodiscard]] Json messages_json(const std::vector<text::ChatMessage>& messages);
Result<std::vector<text::ChatMessage>> parse_messages(const Json& json, std::string_view name);

}  // namespace cria::engine
