// Finds many strings in a text at once: the leftmost, and the longest of those that begin at one place.
//
// The automaton is that of Aho and Corasick (1975, "Efficient string matching") over the reversed
// spellings: one pass from the end of the text to its begin learns the longest spelling that begins at
// each place, and a pass forward takes them. Linear in the text whatever the spellings are, which the
// usual forward search for the leftmost-longest match is not.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace cria::text {

class TokenFinder {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  TokenFinder() = default;
  /// Looks for these spellings; none may be empty, and no two the same.
  explicit TokenFinder(const std::vector<std::string>& spellings);

  [[nodiscard]] bool empty() const { return nodes_.empty(); }

  /// For each byte of the text the index of the longest spelling that begins there, or kNone.
  [[nodiscard]] std::vector<uint32_t> longest_at(std::string_view text) const;

 private:
  /// A reversed prefix. Nodes are in breadth-first order: the children of node i are those from
  /// first_child of i up to first_child of i + 1, ordered by their byte.
  struct Node {
    uint32_t first_child = 0;
    uint32_t fall_back = 0;     ///< the longest proper suffix that is a node too
    uint32_t spelling = kNone;  ///< the longest spelling that is a suffix of this node
    unsigned char byte = 0;
  };
  [[nodiscard]] uint32_t child(uint32_t node, unsigned char byte) const;
  [[nodiscard]] uint32_t step(uint32_t node, unsigned char byte) const;

  std::vector<Node> nodes_;  ///< the root first, and a sentinel at the end
};

}  // namespace cria::text
