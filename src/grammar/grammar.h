// A grammar ready for use: for each rule an automaton over bytes that may call other rules.
//
// A text is accepted where the rule "root" accepts its UTF-8. What stands in the way of following a grammar byte by
// byte is refused here, once: left recursion, and rules that no finite text fits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/syntax.h"

namespace cria::grammar {

/// A step that takes one byte of a range.
struct ByteEdge {
  ByteRange bytes;
  uint32_t to = 0;
};

/// A step that takes no byte: a rule's whole text comes first, or nothing.
struct FreeEdge {
  static constexpr uint32_t kNoRule = UINT32_MAX;
  uint32_t rule = kNoRule;
  uint32_t to = 0;
};

class Grammar {
 public:
  static constexpr uint32_t kMaxStates = 1'000'000;

  /// Reads a text in the dialect of docs/grammar.md; `name` begins every message.
  /// Errors (kInvalidInput): those of parse_syntax; left recursion; a rule that no finite text fits; more states than
  /// kMaxStates.
  static Result<Grammar> parse(std::string_view text, std::string_view name, const SyntaxLimits& limits = {});

  [[nodiscard]] uint32_t states() const { return static_cast<uint32_t>(is_final_.size()); }
  [[nodiscard]] std::span<const ByteEdge> byte_edges(uint32_t state) const {
    return std::span(byte_edges_)
        .subspan(first_byte_edge_[state], first_byte_edge_[state + 1] - first_byte_edge_[state]);
  }
  [[nodiscard]] std::span<const FreeEdge> free_edges(uint32_t state) const {
    return std::span(free_edges_)
        .subspan(first_free_edge_[state], first_free_edge_[state + 1] - first_free_edge_[state]);
  }
  /// The end of a rule.
  [[nodiscard]] bool is_final(uint32_t state) const { return is_final_[state]; }
  /// Nothing follows but the end of the rule.
  [[nodiscard]] bool is_tail(uint32_t state) const { return is_tail_[state]; }
  /// Rules are numbered so that one that may begin with another has the lower number.
  [[nodiscard]] uint32_t rules() const { return static_cast<uint32_t>(first_states_.size()); }
  [[nodiscard]] uint32_t root() const { return root_; }
  [[nodiscard]] uint32_t first_state(uint32_t rule) const { return first_states_[rule]; }
  /// The rule accepts the empty text.
  [[nodiscard]] bool may_be_empty(uint32_t rule) const { return may_be_empty_[rule]; }

  /// Bytes that no edge tells apart are of one class.
  [[nodiscard]] uint32_t classes() const { return static_cast<uint32_t>(class_bytes_.size()); }
  [[nodiscard]] uint8_t class_of(uint8_t byte) const { return classes_[byte]; }
  /// A byte of the class.
  [[nodiscard]] uint8_t class_byte(uint32_t index) const { return class_bytes_[index]; }

 private:
  friend class Compiler;
  void find_classes();
  void find_tails();

  std::vector<uint32_t> first_byte_edge_, first_free_edge_;  // [states + 1]
  std::vector<ByteEdge> byte_edges_;
  std::vector<FreeEdge> free_edges_;
  std::vector<bool> is_final_, is_tail_;
  std::vector<uint32_t> first_states_;  // [rules]
  std::vector<bool> may_be_empty_;      // [rules]
  uint32_t root_ = 0;
  std::array<uint8_t, 256> classes_{};
  std::vector<uint8_t> class_bytes_;
};

}  // namespace cria::grammar
