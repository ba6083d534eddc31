// Answers in the form of OpenAI's API, independent of HTTP.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "engine/sequence.h"

namespace cria::server {

/// An error answer: the status, and what goes into OpenAI's error object.
struct Refusal {
  int status = 400;
  std::string message;
  std::string parameter = {};  ///< the field at fault, or empty
  std::string code = {};       ///< a word for programs, or empty

  [[nodiscard]] std::string type() const;
  [[nodiscard]] std::string body() const;
};

/// A parameter that has a wrong value.
[[nodiscard]] std::unexpected<Refusal> refuse(std::string parameter, std::string message);

/// A Result whose error is a Refusal.
template <typename T>
using Checked = std::expected<T, Refusal>;

/// Refuses what is no list of `least` to `most` of something: "tools".
Checked<bool> check_list(const Json& list, const std::string& parameter, std::string_view what, size_t least,
                         size_t most);

/// The status that an error of the engine has.
[[nodiscard]] Refusal refusal_of(const Error& error);
/// Of what cannot be done any more.
[[nodiscard]] Refusal shutting_down();

/// What kind of answer this is, with what all its parts have in common.
struct ReplyHead {
  bool is_chat = true;
  std::string id;
  std::string model;
  int64_t created = 0;        ///< seconds since 1970
  bool has_logprobs = false;  ///< log-probabilities were asked for
  bool has_usage = false;     ///< a stream ends with the usage; then all its parts have the field
  bool has_tools = false;     ///< answers may be calls, without content
};

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t kept_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t accepted_tokens = 0;  ///< of drafts
  uint64_t rejected_tokens = 0;
};

/// A token of an answer with its log-probability, and those of the likeliest.
struct TokenReport {
  std::string bytes;
  float logprob = 0;
  std::vector<std::pair<std::string, float>> top;
};
/// In the form of a chat, or of a completion: there tokens are placed in the text, whose first `offset` characters
/// stand before them.
[[nodiscard]] Json logprobs_json(bool is_chat, const std::vector<TokenReport>& tokens, size_t offset);
/// Characters in the tokens together.
[[nodiscard]] size_t characters_of(const std::vector<TokenReport>& tokens);

/// "stop" or "length"; "tool_calls" where a whole answer ends with calls.
[[nodiscard]] std::string_view finish_reason(engine::StopReason reason, bool has_calls);

/// A call of a tool, or in a stream a piece of one: its first brings id and name, all together the arguments.
struct CallPiece {
  size_t index = 0;  ///< of the call in its answer
  std::string id = {};
  std::string name = {};
  std::string arguments = {};
};

[[nodiscard]] Json usage_json(const Usage& usage);
/// One choice of an answer that comes whole.
[[nodiscard]] Json choice_json(const ReplyHead& head, size_t index, const std::string& text,
                               const std::vector<CallPiece>& calls, Json logprobs, std::string_view finish);
[[nodiscard]] Json reply_json(const ReplyHead& head, Json choices, const Usage& usage);

/// Events of a streamed answer: `data: {…}` and an empty line.
[[nodiscard]] std::string role_event(const ReplyHead& head, size_t index);
[[nodiscard]] std::string text_event(const ReplyHead& head, size_t index, const std::string& text, Json logprobs);
[[nodiscard]] std::string calls_event(const ReplyHead& head, size_t index, const std::vector<CallPiece>& calls);
[[nodiscard]] std::string finish_event(const ReplyHead& head, size_t index, std::string_view finish);
[[nodiscard]] std::string usage_event(const ReplyHead& head, const Usage& usage);
[[nodiscard]] std::string error_event(const Refusal& refusal);
inline constexpr std::string_view kDoneEvent = "data: [DONE]\n\n";

/// JSON in one line; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string dumped(const Json& json);

}  // namespace cria::server
