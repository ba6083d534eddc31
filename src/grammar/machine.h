// Follows a grammar byte by byte: a deterministic machine that is built while it runs.
//
// Where a text stands in a grammar is a set of places: a state of a rule's automaton, and the callers to which that
// rule returns when it ends. Callers are sets themselves (of a state to go on in, and that rule's callers), so that
// many ways to read a text share what they have in common; equal sets are one. Sets of places are numbered, and a step
// from one by a class of bytes is computed once. A call at the end of a rule returns straight to that rule's callers,
// so that lists written with recursion do not grow. Source: Scott & Johnstone 2010, "GLL Parsing" (stacks that share
// their parts); Thompson 1968 (sets built on the way).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/grammar.h"

namespace cria::grammar {

/// What a machine may grow to. Where a text would need more, it is not accepted.
struct MachineLimits {
  uint32_t depth = 1000;          ///< of rules within rules
  uint32_t places = 4096;         ///< of one set: ways to read a text so far
  uint64_t bytes = 32ULL << 20U;  ///< of all sets and steps
  uint64_t work = 2'000'000;      ///< places and callers looked at between two calls of begin_work()
};

class Machine {
 public:
  /// The set without places: no text that begins so is accepted.
  static constexpr uint32_t kDead = 0;

  explicit Machine(std::shared_ptr<const Grammar> grammar, const MachineLimits& limits = {});

  /// Before the first byte.
  [[nodiscard]] uint32_t start() const { return start_; }
  /// The set behind a byte of a class.
  uint32_t step(uint32_t set, uint32_t byte_class) {
    const uint32_t known = steps_[uint64_t{set} * classes_ + byte_class];
    return known != kUnknown ? known : compute_step(set, byte_class);
  }
  /// The set behind bytes, or kDead.
  uint32_t step_over(uint32_t set, std::string_view bytes);

  /// The text so far is accepted.
  [[nodiscard]] bool may_end(uint32_t set) const { return !sets_[set].empty() && sets_[set].back() == kEnd; }
  /// Some byte may follow.
  [[nodiscard]] bool may_go_on(uint32_t set) const { return sets_[set].size() > (may_end(set) ? 1U : 0U); }

  /// Since begin_work() limits were reached: steps were taken for impossible that are not.
  [[nodiscard]] bool is_exhausted() const { return is_exhausted_; }
  void begin_work() {
    work_ = 0;
    is_exhausted_ = false;
  }
  /// What the machine holds now, roughly.
  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  /// Forgets all but the start and these sets, whose numbers change.
  void keep_only(std::span<uint32_t> sets);

  [[nodiscard]] const Grammar& grammar() const { return *grammar_; }
  /// Sets there are; their numbers are below.
  [[nodiscard]] uint32_t sets() const { return static_cast<uint32_t>(sets_.size()); }

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;
  static constexpr uint64_t kEnd =
      UINT64_MAX;  // stands where the text may end: last in a set, or for the root's caller
  static constexpr uint32_t kRootCallers = 0;
  /// Sorted: state << 32 | callers. Of callers, `callers` are those of the rule that goes on in `state`.
  using Places = std::vector<uint64_t>;
  struct Callers {
    Places places;
    uint32_t depth = 0;
  };
  struct Hash {
    size_t operator()(const Places& places) const;
  };

  void clear();
  uint32_t compute_step(uint32_t set, uint32_t byte_class);
  bool enter(uint64_t first, bool returns);
  bool call_rules();
  void add_call(const FreeEdge& call, uint32_t callers);
  uint32_t intern_callers(Places places);
  uint32_t intern_set(Places places);

  std::shared_ptr<const Grammar> grammar_;
  MachineLimits limits_;
  uint32_t classes_;
  uint32_t start_ = kDead;
  std::vector<Callers> callers_;  // those that others name stand before them
  std::unordered_map<Places, uint32_t, Hash> callers_ids_;
  std::vector<Places> sets_;
  std::unordered_map<Places, uint32_t, Hash> set_ids_;
  std::vector<uint32_t> steps_;  // [sets, classes]
  uint64_t bytes_ = 0;
  uint64_t work_ = 0;
  bool is_exhausted_ = false;
  // Of the step that is being computed:
  Places places_, open_, seen_;
  std::vector<Places> calls_;  // of each rule, from where
  std::set<uint32_t> called_;  // rules with calls, first those that may begin with others
};

}  // namespace cria::grammar
