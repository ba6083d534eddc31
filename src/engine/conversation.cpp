#include "engine/conversation.h"

#include <algorithm>

#include "base/json_fields.h"

namespace cria::engine {

Result<Conversation> Conversation::create(Engine& engine, text::ChatTemplate chat_template) {
  CRIA_TRY_ASSIGN(Sequence sequence, Sequence::create(engine));
  CRIA_TRY(sequence.clear());
  return Conversation(engine, std::move(sequence), std::move(chat_template));
}

void Conversation::set_system(const std::string& text) {
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  if (has_system) messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), {"system", text});
}

void Conversation::reset() {
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(has_system ? 1 : 0);
}

bool Conversation::take_back_answer() {
  if (messages_.empty() || messages_.back().role != "assistant") return false;
  messages_.pop_back();
  return true;
}

/// Drops the oldest user's message with what follows up to the next one; returns how many, 0 where only one is left.
uint32_t Conversation::drop_oldest() {
  const auto is_user = [](const text::ChatMessage& message) { return message.role == "user"; };
  const auto first = messages_.begin() + (!messages_.empty() && messages_.front().role == "system" ? 1 : 0);
  if (first == messages_.end()) return 0;
  const auto next = std::find_if(first + 1, messages_.end(), is_user);
  if (next == messages_.end()) return 0;
  const auto count = static_cast<uint32_t>(next - first);
  messages_.erase(first, next);
  return count;
}

Result<std::vector<uint32_t>> Conversation::fit(uint32_t max_tokens, uint32_t& dropped) {
  const uint32_t context = engine_->model().kv_cache().max_context();
  const uint32_t reserve = std::clamp(max_tokens, 1U, std::max(1U, context / 4));
  for (;;) {
    CRIA_TRY_ASSIGN(std::vector<uint32_t> tokens, conversation_tokens(engine_->tokenizer(), template_, messages_));
    if (tokens.size() + reserve <= context) return tokens;
    const uint32_t count = drop_oldest();
    dropped += count;
    if (count > 0) continue;
    if (tokens.size() < context) return tokens;  // little room is better than none
    return fail(ErrorCode::kInvalidInput,
                "the message and what stands around it have {} tokens, and the context has {}",
                with_commas(tokens.size()), with_commas(context));
  }
}

Status Conversation::reload() {
  CRIA_TRY(engine_->reload());
  CRIA_TRY_ASSIGN(sequence_, Sequence::create(*engine_));
  return {};
}

Result<Answer> Conversation::answer(const GenerateOptions& options, const std::vector<std::string>& stops,
                                    const AnswerCallback& on_text) {
  Answer answer;
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> tokens, fit(options.max_tokens, answer.dropped_messages));
  CRIA_TRY_ASSIGN(answer.kept_tokens, sequence_.keep_prefix(tokens));
  TextStream stream(engine_->tokenizer(), stops);
  CRIA_TRY(stream.pass(tokens));
  Status decoded;
  const auto hand_over = [&](const std::string& piece) {
    answer.text += piece;
    return piece.empty() || !on_text || on_text(piece);
  };
  auto stats = sequence_.generate({tokens.begin() + answer.kept_tokens, tokens.end()}, options, [&](uint32_t token) {
    auto piece = stream.push(token);
    if (!piece) decoded = std::unexpected(std::move(piece).error());
    return decoded && hand_over(*piece) && !stream.stopped();
  });
  hand_over(stream.finish());
  if (!answer.text.empty() || stats) add("assistant", answer.text);
  CRIA_TRY(decoded);
  if (!stats) return std::unexpected(std::move(stats).error());
  answer.stats = *std::move(stats);
  if (stream.stopped()) answer.stats.stop_reason = StopReason::kStopText;
  return answer;
}

Result<std::vector<uint32_t>> conversation_tokens(const text::Tokenizer& tokenizer, const text::ChatTemplate& chat,
                                                  const std::vector<text::ChatMessage>& messages) {
  CRIA_TRY_ASSIGN(const std::string text, chat.render(messages, /*add_generation_prompt=*/true));
  return tokenizer.encode(text, {.add_special_tokens = false});
}

Json messages_json(const std::vector<text::ChatMessage>& messages) {
  Json list = Json::array();
  for (const text::ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return list;
}

Result<std::vector<text::ChatMessage>> parse_messages(const Json& json, std::string_view name) {
  if (!json.is_array()) return fail(ErrorCode::kInvalidInput, "{}: \"messages\" is not a list", name);
  std::vector<text::ChatMessage> messages;
  for (const Json& entry : json) {
    const auto role = entry.is_object() ? entry.find("role") : entry.end();
    const auto content = entry.is_object() ? entry.find("content") : entry.end();
    const bool whole =
        entry.is_object() && role != entry.end() && role->is_string() && content != entry.end() && content->is_string();
    if (!whole) {
      return fail(ErrorCode::kInvalidInput, "{}: the message {} has no strings \"role\" and \"content\": {}", name,
                  messages.size(), shown(entry));
    }
    messages.push_back({role->get<std::string>(), content->get<std::string>()});
  }
  return messages;
}

}  // namespace cria::engine
