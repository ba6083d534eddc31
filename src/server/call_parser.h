// Reads an answer as it is made: its text, and behind it calls of tools in the form that the model writes them in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tool_template.h"

namespace cria::server {

/// A part of an answer: of its text, or of a call.
struct AnswerPiece {
  static constexpr size_t kNoCall = SIZE_MAX;
  size_t call = kNoCall;  ///< the number of a call from 0
  std::string name;       ///< of the call, in its first piece
  std::string text;       ///< of the answer, or of the call's arguments

  bool operator==(const AnswerPiece&) const = default;
};

/// Answers are those that a grammar of server/call_grammar.h allows, or the begin of one: what stands behind the marker
/// of a call is a call. However an answer is cut into pushes, all pieces of a call put together are the same.
class CallParser {
 public:
  explicit CallParser(text::CallForm form) : form_(form), syntax_(text::syntax_of(form)) {}

  /// What is certain with this text. Blanks between the text and the first call belong to neither.
  std::vector<AnswerPiece> push(std::string_view text);
  /// What was held back, where the answer ends.
  std::vector<AnswerPiece> finish();

  /// Calls that are whole.
  [[nodiscard]] size_t calls() const { return calls_; }
  /// The answer ended, or is now, within a call.
  [[nodiscard]] bool is_in_call() const { return place_ == Place::kCall && depth_ > 0; }

 private:
  enum class Place : uint8_t { kText, kCall };
  enum class Value : uint8_t { kNone, kKey, kName, kArguments, kOther };

  void read_text(std::vector<AnswerPiece>& pieces);
  void read(char c, std::vector<AnswerPiece>& pieces);
  void begin_arguments(std::vector<AnswerPiece>& pieces);
  void begin_value();
  void end_value(std::vector<AnswerPiece>& pieces);

  text::CallForm form_;
  const text::CallSyntax& syntax_;
  Place place_ = Place::kText;
  std::string held_;  // of the text: what may be the begin of a call
  bool has_text_ = false;
  size_t calls_ = 0;
  // Within a call:
  uint32_t depth_ = 0;  // of brackets that are open; 1 between the members of the call
  bool is_in_string_ = false, is_escaped_ = false;
  Value value_ = Value::kNone;  // the member that is being read
  std::string word_;            // what has come of it
};

}  // namespace cria::server
