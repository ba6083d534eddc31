// The tokens of a vocabulary by their bytes: a tree that is walked once to find which of them may come next.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cria::grammar {

/// What a special token, which has no text, is in a vocabulary and a grammar: bytes that are not UTF-8, so that no
/// other text of a grammar has them.
[[nodiscard]] std::string special_token_bytes(uint32_t token);

class Vocabulary {
 public:
  /// The bytes of each token, in the order of their ids; empty where a token is never offered.
  explicit Vocabulary(const std::vector<std::string>& tokens);

  /// Ids, those without text included.
  [[nodiscard]] uint32_t size() const { return size_; }
  /// What the token stands for; empty where it is none.
  [[nodiscard]] std::string_view bytes(uint32_t token) const {
    return std::string_view(text_).substr(begins_[token], begins_[token + 1] - begins_[token]);
  }
  /// 32-bit words of a mask, a bit for each token.
  [[nodiscard]] uint32_t mask_words() const { return (size_ + 31) / 32; }

  /// A byte behind those of the node above it. Nodes lie in depth-first order.
  struct Node {
    uint32_t behind = 0;       ///< the first node that is not below this one
    uint32_t first_token = 0;  ///< in tokens(): those that end here, up to the next node's
    uint16_t depth = 0;        ///< 0 for a token's first byte
    uint8_t byte = 0;
  };
  [[nodiscard]] std::span<const Node> nodes() const { return std::span(nodes_).first(nodes_.size() - 1); }
  [[nodiscard]] std::span<const uint32_t> tokens(uint32_t node) const {
    const uint32_t first = nodes_[node].first_token;
    return std::span(tokens_).subspan(first, nodes_[node + 1].first_token - first);
  }
  /// Of the longest token.
  [[nodiscard]] uint32_t longest() const { return longest_; }

 private:
  uint32_t size_ = 0;
  uint32_t longest_ = 0;
  std::string text_;              // of all tokens, one after the other
  std::vector<uint32_t> begins_;  // [size + 1]
  std::vector<Node> nodes_;       // and one behind the last
  std::vector<uint32_t> tokens_;
};

}  // namespace cria::grammar
