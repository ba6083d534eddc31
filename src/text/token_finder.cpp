#include "text/token_finder.h"

#include <algorithm>
#include <numeric>

namespace cria::text {
namespace {

/// The spellings that begin, reversed, with the letters of one node: a range of the sorted list.
struct Range {
  uint32_t begin, end, depth, parent;
};

}  // namespace

TokenFinder::TokenFinder(const std::vector<std::string>& spellings) {
  if (spellings.empty()) return;
  std::vector<uint32_t> order(spellings.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::lexicographical_compare(spellings[a].rbegin(), spellings[a].rend(), spellings[b].rbegin(),
                                        spellings[b].rend(), [](unsigned char x, unsigned char y) { return x < y; });
  });
  const auto letter = [&](uint32_t rank, uint32_t depth) {
    const std::string& spelling = spellings[order[rank]];
    return static_cast<unsigned char>(spelling[spelling.size() - 1 - depth]);
  };
  std::vector<Range> ranges = {{0, static_cast<uint32_t>(order.size()), 0, 0}};
  nodes_.emplace_back();
  for (uint32_t node = 0; node < nodes_.size(); ++node) {
    const Range range = ranges[node];
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    uint32_t begin = range.begin;
    // Sorted, the spelling that ends here comes before those that go on.
    if (spellings[order[begin]].size() == range.depth) nodes_[node].spelling = order[begin++];
    while (begin < range.end) {
      const unsigned char byte = letter(begin, range.depth);
      uint32_t end = begin + 1;
      while (end < range.end && letter(end, range.depth) == byte) ++end;
      nodes_.push_back({.byte = byte});
      ranges.push_back({begin, end, range.depth + 1, node});
      begin = end;
    }
  }
  const auto count = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({.first_child = count});
  for (uint32_t node = 1; node < count; ++node) {
    const uint32_t parent = ranges[node].parent;
    if (parent != 0) nodes_[node].fall_back = step(nodes_[parent].fall_back, nodes_[node].byte);
    if (nodes_[node].spelling == kNone) nodes_[node].spelling = nodes_[nodes_[node].fall_back].spelling;
  }
}

uint32_t TokenFinder::child(uint32_t node, unsigned char byte) const {
  const auto begin = nodes_.begin() + nodes_[node].first_child;
  const auto end = nodes_.begin() + nodes_[node + 1].first_child;
  const auto found = std::lower_bound(begin, end, byte, [](const Node& a, unsigned char b) { return a.byte < b; });
  return found != end && found->byte == byte ? static_cast<uint32_t>(found - nodes_.begin()) : 0;
}

uint32_t TokenFinder::step(uint32_t node, unsigned char byte) const {
  for (;; node = nodes_[node].fall_back) {
    if (const uint32_t next = child(node, byte)) return next;
    if (node == 0) return 0;
  }
}

std::vector<uint32_t> TokenFinder::longest_at(std::string_view text) const {
  std::vector<uint32_t> longest(text.size(), kNone);
  uint32_t node = 0;
  for (size_t at = text.size(); at-- > 0;) {
    node = step(node, static_cast<unsigned char>(text[at]));
    longest[at] = nodes_[node].spelling;
  }
  return longest;
}

}  // namespace cria::text
