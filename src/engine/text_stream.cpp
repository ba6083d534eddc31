#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace cria::engine {

StopMatch find_stop(std::string_view text, const std::vector<std::string>& stops) {
  StopMatch match;
  for (const std::string& stop : stops) match.at = std::min(match.at, text.find(stop));
  for (const std::string& stop : stops) {
    for (size_t length = std::min(stop.size() - 1, text.size()); length > match.held_back; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) match.held_back = length;
    }
  }
  return match;
}

Status TextStream::pass(const std::vector<text::TokenId>& tokens) {
  for (const text::TokenId token : tokens) CRIA_TRY(decoder_.push(token));
  decoder_.pause();
  return {};
}

std::string TextStream::take(const std::string& piece) {
  if (stopped_) return {};
  held_ += piece;
  if (stops_.empty()) return std::exchange(held_, {});
  const StopMatch match = find_stop(held_, stops_);
  if (match.at != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, {}).substr(0, match.at);
  }
  std::string certain = held_.substr(0, held_.size() - match.held_back);
  held_.erase(0, certain.size());
  return certain;
}

Result<std::string> TextStream::push(text::TokenId token) {
  CRIA_TRY_ASSIGN(const std::string piece, decoder_.push(token));
  return take(piece);
}

std::string TextStream::show(std::string_view text) { return take(decoder_.pause().append(text)); }

std::string TextStream::finish() {
  std::string text = take(decoder_.pause());
  if (!stopped_) text += std::exchange(held_, {});
  return text;
}

}  // namespace cria::engine
