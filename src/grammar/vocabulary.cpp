#include "grammar/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

namespace cria::grammar {
namespace {

/// Longer tokens are never offered: their depth must fit into a node.
constexpr size_t kLongestToken = 4096;

}  // namespace

std::string special_token_bytes(uint32_t token) { return fmt::format("\xFF{}\xFF", token); }

Vocabulary::Vocabulary(const std::vector<std::string>& tokens) : size_(static_cast<uint32_t>(tokens.size())) {
  begins_.push_back(0);
  for (uint32_t token = 0; token < size_; ++token) {
    text_ += tokens[token];
    begins_.push_back(static_cast<uint32_t>(text_.size()));
    if (!tokens[token].empty() && tokens[token].size() <= kLongestToken) tokens_.push_back(token);
  }
  std::ranges::stable_sort(tokens_, {}, [&](uint32_t token) { return bytes(token); });
  std::vector<uint32_t> path;  // the nodes of the last token
  const auto close_to = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes_[path.back()].behind = static_cast<uint32_t>(nodes_.size());
  };
  std::string_view last;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view token = bytes(tokens_[i]);
    const auto common = static_cast<size_t>(std::ranges::mismatch(last, token).in2 - token.begin());
    close_to(common);
    for (size_t depth = common; depth < token.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back(
          {.first_token = i, .depth = static_cast<uint16_t>(depth), .byte = static_cast<uint8_t>(token[depth])});
    }
    longest_ = std::max(longest_, static_cast<uint32_t>(token.size()));
    last = token;
  }
  close_to(0);
  nodes_.push_back({.behind = 0, .first_token = static_cast<uint32_t>(tokens_.size())});
}

}  // namespace cria::grammar
