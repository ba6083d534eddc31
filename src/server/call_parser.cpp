#include "server/call_parser.h"

#include <algorithm>

#include "base/json.h"

namespace cria::server {
namespace {

constexpr std::string_view kBlanks = " \n\r\t";

bool is_blank(char c) { return kBlanks.contains(c); }

/// How much of a call in the form of Llama 3 a text begins with, blanks aside.
enum class Opening : uint8_t { kNone, kPart, kWhole };

Opening opening_of(std::string_view text) {
  constexpr std::string_view kOpening = "{\"name\":\"";
  size_t matched = 0;
  for (const char c : text) {
    const bool is_in_key = matched >= 2 && matched <= 6;
    if (is_blank(c) && !is_in_key) continue;
    if (c != kOpening[matched]) return Opening::kNone;
    if (++matched == kOpening.size()) return Opening::kWhole;
  }
  return Opening::kPart;
}

/// Bytes at the end of a text that begin a marker.
size_t begun(std::string_view text, std::string_view marker) {
  size_t length = std::min(text.size(), marker.size() - 1);
  while (!text.ends_with(marker.substr(0, length))) --length;
  return length;
}

/// Text goes on a piece of the same kind.
void add(std::vector<AnswerPiece>& pieces, size_t call, std::string_view text) {
  if (text.empty()) return;
  if (pieces.empty() || pieces.back().call != call) pieces.push_back({.call = call, .name = {}, .text = {}});
  pieces.back().text += text;
}

}  // namespace

std::vector<AnswerPiece> CallParser::push(std::string_view text) {
  std::vector<AnswerPiece> pieces;
  if (place_ == Place::kText) {
    held_ += text;
    read_text(pieces);
  } else {
    for (const char c : text) read(c, pieces);
  }
  return pieces;
}

std::vector<AnswerPiece> CallParser::finish() {
  std::vector<AnswerPiece> pieces;
  add(pieces, AnswerPiece::kNoCall, held_);
  held_.clear();
  return pieces;
}

/// Gives out what of the held text is text for certain, and goes over to the first call where it begins.
void CallParser::read_text(std::vector<AnswerPiece>& pieces) {
  const Opening opening = form_ == text::CallForm::kLlama3 && !has_text_ ? opening_of(held_) : Opening::kNone;
  const size_t marker = opening == Opening::kWhole ? 0 : held_.find(syntax_.begin);
  const bool begins = marker != std::string::npos;
  size_t certain = begins ? marker : held_.size() - begun(held_, syntax_.begin);
  while (certain > 0 && is_blank(held_[certain - 1])) --certain;
  if (opening == Opening::kPart && !begins) certain = 0;
  add(pieces, AnswerPiece::kNoCall, std::string_view(held_).substr(0, certain));
  has_text_ = has_text_ || certain > 0;
  if (!begins) {
    held_.erase(0, certain);
    return;
  }
  place_ = Place::kCall;
  const std::string rest = held_.substr(opening == Opening::kWhole ? 0 : marker + syntax_.begin.size());
  held_.clear();
  for (const char c : rest) read(c, pieces);
}

/// What stands between calls is passed over: a call begins with its bracket.
void CallParser::read(char c, std::vector<AnswerPiece>& pieces) {
  if (depth_ == 0) {
    const bool begins = c == '{';
    if (!begins && !syntax_.is_object) word_ += c;
    if (begins) depth_ = 1;
    if (!begins || syntax_.is_object) return;
    begin_arguments(pieces);
  }
  if (value_ == Value::kNone) {  // a member begins, or the call ends
    if (c == '"') {
      value_ = Value::kKey;
      is_in_string_ = true;
      word_.clear();
    } else if (c == '}') {
      depth_ = 0;
      ++calls_;
    }
    return;
  }
  if (value_ == Value::kKey && !is_in_string_) {  // behind the key
    if (c == ':') begin_value();
    return;
  }
  if (!is_in_string_ && depth_ == 1 && (is_blank(c) || c == ',' || c == '}')) {
    if (word_.empty()) return;  // blanks before the value
    end_value(pieces);          // a number or a word
    if (c == '}') read(c, pieces);
    return;
  }
  const bool is_quote = c == '"' && !is_escaped_;
  is_escaped_ = is_in_string_ && c == '\\' && !is_escaped_;
  if (value_ == Value::kKey && is_quote) {
    is_in_string_ = false;
    return;
  }
  if (value_ == Value::kArguments) {
    add(pieces, calls_, std::string_view(&c, 1));
    word_ = c;  // only tells that it has begun
  } else {
    word_ += c;
  }
  if (is_quote) is_in_string_ = !is_in_string_;
  if (is_in_string_) return;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') --depth_;
  if (depth_ == 1 && (is_quote || c == '}' || c == ']')) end_value(pieces);
}

/// The name stood before them, between markers.
void CallParser::begin_arguments(std::vector<AnswerPiece>& pieces) {
  const size_t marker = word_.rfind(syntax_.begin);
  const std::string name = marker == std::string::npos ? word_ : word_.substr(marker + syntax_.begin.size());
  pieces.push_back({.call = calls_, .name = name.substr(0, name.find('[')), .text = {}});
  value_ = Value::kArguments;
  word_.clear();
}

void CallParser::begin_value() {
  value_ = word_ == "name" ? Value::kName : word_ == syntax_.arguments ? Value::kArguments : Value::kOther;
  word_.clear();
}

void CallParser::end_value(std::vector<AnswerPiece>& pieces) {
  if (value_ == Value::kName) {
    const std::string name = word_.size() >= 2 ? word_.substr(1, word_.size() - 2) : word_;
    pieces.push_back({.call = calls_, .name = name, .text = {}});
  }
  value_ = Value::kNone;
  word_.clear();
  if (syntax_.is_object) return;
  depth_ = 0;
  ++calls_;
}

}  // namespace cria::server
