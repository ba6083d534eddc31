#include "grammar/grammar.h"

#include <algorithm>
#include <bitset>
#include <string>

namespace cria::grammar {
namespace {

/// Properties of rules that follow from those of the rules they use: the least solution, by a list of what to look at
/// again.
class RuleFacts {
 public:
  explicit RuleFacts(const Syntax& syntax) : syntax_(syntax), users_(syntax.rules.size()) {
    for (uint32_t rule = 0; rule < syntax.rules.size(); ++rule) add_users(syntax.rules[rule].part, rule);
  }

  /// Rules whose part `holds`, given which rules do.
  template <typename Holds>
  std::vector<bool> solve(const Holds& holds) const {
    std::vector<bool> known(syntax_.rules.size());
    std::vector<uint32_t> open(syntax_.rules.size());
    for (uint32_t rule = 0; rule < open.size(); ++rule) open[rule] = rule;
    while (!open.empty()) {
      const uint32_t rule = open.back();
      open.pop_back();
      if (known[rule] || !holds(syntax_.rules[rule].part, known)) continue;
      known[rule] = true;
      open.insert(open.end(), users_[rule].begin(), users_[rule].end());
    }
    return known;
  }

 private:
  void add_users(uint32_t index, uint32_t user) {
    const Part& part = syntax_.parts[index];
    if (part.kind == Part::Kind::kRule && (users_[part.rule].empty() || users_[part.rule].back() != user)) {
      users_[part.rule].push_back(user);
    }
    for (const uint32_t inner : part.parts) add_users(inner, user);
  }

  const Syntax& syntax_;
  std::vector<std::vector<uint32_t>> users_;  // of each rule
};

/// Whether something that holds of a text in parts where it holds of each holds of a part, given for which rules it
/// does, and what says it of texts and sets of characters.
template <typename OfLeaf>
bool holds(const Syntax& syntax, uint32_t index, const std::vector<bool>& rules, const OfLeaf& of_leaf) {
  const Part& part = syntax.parts[index];
  const auto of_inner = [&](uint32_t inner) { return holds(syntax, inner, rules, of_leaf); };
  switch (part.kind) {
    case Part::Kind::kText:
    case Part::Kind::kSet: return of_leaf(part);
    case Part::Kind::kRule: return rules[part.rule];
    case Part::Kind::kSequence: return std::ranges::all_of(part.parts, of_inner);
    case Part::Kind::kAlternatives: return std::ranges::any_of(part.parts, of_inner);
    case Part::Kind::kRepetition: return part.least == 0 || of_inner(part.parts.front());
  }
  return false;
}

/// Whether a part accepts the empty text, given which rules do.
bool accepts_empty(const Syntax& syntax, uint32_t index, const std::vector<bool>& empty_rules) {
  return holds(syntax, index, empty_rules,
               [](const Part& leaf) { return leaf.kind == Part::Kind::kText && leaf.text.empty(); });
}

/// Whether some finite text fits a part, given for which rules one does.
bool may_end(const Syntax& syntax, uint32_t index, const std::vector<bool>& ending_rules) {
  return holds(syntax, index, ending_rules, [](const Part&) { return true; });
}

/// The rules that may stand at the begin of a part.
void add_beginnings(const Syntax& syntax, uint32_t index, const std::vector<bool>& empty_rules,
                    std::vector<uint32_t>& rules) {
  const Part& part = syntax.parts[index];
  if (part.kind == Part::Kind::kRule) rules.push_back(part.rule);
  for (const uint32_t inner : part.parts) {
    if (part.kind == Part::Kind::kRepetition && part.most == 0) return;
    add_beginnings(syntax, inner, empty_rules, rules);
    if (part.kind == Part::Kind::kSequence && !accepts_empty(syntax, inner, empty_rules)) return;
  }
}

/// The rules in an order where one that may begin with another stands before it. Errors where a rule may begin with
/// itself, through others or not: it would be entered without end.
Result<std::vector<uint32_t>> order_rules(const Syntax& syntax, const std::vector<bool>& empty_rules,
                                          std::string_view name) {
  std::vector<std::vector<uint32_t>> beginnings(syntax.rules.size());
  for (size_t rule = 0; rule < beginnings.size(); ++rule) {
    add_beginnings(syntax, syntax.rules[rule].part, empty_rules, beginnings[rule]);
  }
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(syntax.rules.size());
  std::vector<uint32_t> order;  // backwards
  struct Visit {
    uint32_t rule, next;
  };
  for (uint32_t first = 0; first < marks.size(); ++first) {
    if (marks[first] != Mark::kNew) continue;
    std::vector<Visit> path{{first, 0}};
    marks[first] = Mark::kOpen;
    while (!path.empty()) {
      Visit& visit = path.back();
      if (visit.next == beginnings[visit.rule].size()) {
        marks[visit.rule] = Mark::kDone;
        order.push_back(visit.rule);
        path.pop_back();
        continue;
      }
      const uint32_t rule = beginnings[visit.rule][visit.next++];
      if (marks[rule] == Mark::kOpen) {
        return fail(ErrorCode::kInvalidInput,
                    "{}: the rule \"{}\" in line {} may begin with itself (left recursion), which is not supported: "
                    "write it as a repetition, or with the recursion at its end",
                    name, syntax.rules[rule].name.substr(0, 60), syntax.rules[rule].line);
      }
      if (marks[rule] == Mark::kDone) continue;
      marks[rule] = Mark::kOpen;
      path.push_back({rule, 0});
    }
  }
  std::ranges::reverse(order);
  return order;
}

}  // namespace

/// Makes the automata of all rules.
class Compiler {
 public:
  Compiler(const Syntax& syntax, std::string_view name) : syntax_(syntax), name_(name) {}

  Result<Grammar> compile(const std::vector<uint32_t>& order, const std::vector<bool>& empty_rules) {
    numbers_.resize(order.size());
    for (uint32_t number = 0; number < order.size(); ++number) numbers_[order[number]] = number;
    grammar_.root_ = numbers_[syntax_.root];
    for (const uint32_t rule : order) {
      CRIA_TRY_ASSIGN(const uint32_t first, add_state());
      CRIA_TRY_ASSIGN(const uint32_t last, part(syntax_.rules[rule].part, first));
      grammar_.first_states_.push_back(first);
      grammar_.may_be_empty_.push_back(empty_rules[rule]);
      grammar_.is_final_[last] = true;
    }
    sort_edges(byte_edges_, grammar_.byte_edges_, grammar_.first_byte_edge_);
    sort_edges(free_edges_, grammar_.free_edges_, grammar_.first_free_edge_);
    grammar_.find_classes();
    grammar_.find_tails();
    return std::move(grammar_);
  }

 private:
  template <typename Edge>
  struct From {
    uint32_t state;
    Edge edge;
  };

  Result<uint32_t> add_state() {
    // Parts that make no state are repeated too.
    if (grammar_.is_final_.size() >= Grammar::kMaxStates || ++work_ > 4 * uint64_t{Grammar::kMaxStates}) {
      return fail(ErrorCode::kInvalidInput,
                  "{}: the grammar is too large: its repetitions written out have more than {} states", name_,
                  with_commas(Grammar::kMaxStates));
    }
    grammar_.is_final_.push_back(false);
    return static_cast<uint32_t>(grammar_.is_final_.size() - 1);
  }
  void add_byte(uint32_t from, ByteRange bytes, uint32_t to) { byte_edges_.push_back({from, {bytes, to}}); }
  void add_free(uint32_t from, uint32_t to, uint32_t rule = FreeEdge::kNoRule) {
    free_edges_.push_back({from, {rule, to}});
  }

  /// Adds what a part accepts behind a state; returns the state where it ends. Every part but the empty text ends in a
  /// state of its own, so that nothing else leads there.
  Result<uint32_t> part(uint32_t index, uint32_t from) {
    const Part& part = syntax_.parts[index];
    switch (part.kind) {
      case Part::Kind::kText: return text(part.text, from);
      case Part::Kind::kSet: return set(part.set, from);
      case Part::Kind::kRule: {
        CRIA_TRY_ASSIGN(const uint32_t to, add_state());
        add_free(from, to, numbers_[part.rule]);
        return to;
      }
      case Part::Kind::kSequence: {
        for (const uint32_t inner : part.parts) {
          CRIA_TRY_ASSIGN(from, this->part(inner, from));
        }
        return from;
      }
      case Part::Kind::kAlternatives: return alternatives(part, from);
      case Part::Kind::kRepetition: return repetition(part, from);
    }
    return from;
  }

  Result<uint32_t> text(std::string_view bytes, uint32_t from) {
    for (const char c : bytes) {
      CRIA_TRY_ASSIGN(const uint32_t to, add_state());
      add_byte(from, {static_cast<uint8_t>(c), static_cast<uint8_t>(c)}, to);
      from = to;
    }
    return from;
  }

  /// Sequences that go on alike share their states.
  Result<uint32_t> set(const CharacterSet& characters, uint32_t from) {
    CRIA_TRY_ASSIGN(const uint32_t to, add_state());
    std::vector<ByteSequence> sequences;
    for (const CharacterRange& range : characters) append_sequences(range, sequences);
    struct Suffix {
      ByteRange bytes;
      uint32_t state, to;
    };
    std::vector<Suffix> suffixes;
    for (const ByteSequence& sequence : sequences) {
      uint32_t next = to;
      for (uint32_t i = sequence.length - 1; i > 0; --i) {
        const ByteRange bytes = sequence.bytes[i];
        const auto known = std::ranges::find_if(suffixes, [&](const Suffix& suffix) {
          return suffix.to == next && suffix.bytes.first == bytes.first && suffix.bytes.last == bytes.last;
        });
        if (known != suffixes.end()) {
          next = known->state;
          continue;
        }
        CRIA_TRY_ASSIGN(const uint32_t state, add_state());
        add_byte(state, bytes, next);
        suffixes.push_back({bytes, state, next});
        next = state;
      }
      add_byte(from, sequence.bytes[0], next);
    }
    return to;
  }

  Result<uint32_t> alternatives(const Part& part, uint32_t from) {
    CRIA_TRY_ASSIGN(const uint32_t to, add_state());
    for (const uint32_t inner : part.parts) {
      // A loop that begins with a choice must not be entered from the others.
      CRIA_TRY_ASSIGN(const uint32_t first, add_state());
      add_free(from, first);
      CRIA_TRY_ASSIGN(const uint32_t last, this->part(inner, first));
      add_free(last, to);
    }
    return to;
  }

  Result<uint32_t> repetition(const Part& part, uint32_t from) {
    const uint32_t inner = part.parts.front();
    for (uint32_t i = 0; i < part.least; ++i) {
      if (++work_ > 4 * uint64_t{Grammar::kMaxStates}) return add_state();
      CRIA_TRY_ASSIGN(from, this->part(inner, from));
    }
    CRIA_TRY_ASSIGN(const uint32_t end, add_state());
    if (part.most == kUnbounded) {
      CRIA_TRY_ASSIGN(const uint32_t loop, add_state());
      add_free(from, loop);
      CRIA_TRY_ASSIGN(const uint32_t last, this->part(inner, loop));
      add_free(last, loop);
      add_free(loop, end);
      return end;
    }
    for (uint32_t i = part.least; i < part.most; ++i) {
      if (++work_ > 4 * uint64_t{Grammar::kMaxStates}) return add_state();
      add_free(from, end);
      CRIA_TRY_ASSIGN(from, this->part(inner, from));
    }
    add_free(from, end);
    return end;
  }

  /// Edges in the order of their states, and where those of each state begin.
  template <typename Edge>
  void sort_edges(const std::vector<From<Edge>>& from, std::vector<Edge>& edges, std::vector<uint32_t>& first) const {
    first.assign(grammar_.is_final_.size() + 1, 0);
    for (const From<Edge>& entry : from) ++first[entry.state + 1];
    for (size_t state = 1; state < first.size(); ++state) first[state] += first[state - 1];
    edges.resize(from.size());
    std::vector<uint32_t> next(first.begin(), first.end() - 1);
    for (const From<Edge>& entry : from) edges[next[entry.state]++] = entry.edge;
  }

  const Syntax& syntax_;
  std::string_view name_;
  std::vector<uint32_t> numbers_;  // of the syntax' rules
  Grammar grammar_;
  uint64_t work_ = 0;
  std::vector<From<ByteEdge>> byte_edges_;
  std::vector<From<FreeEdge>> free_edges_;
};

void Grammar::find_classes() {
  std::bitset<257> begins;
  begins[0] = true;
  for (const ByteEdge& edge : byte_edges_) begins[edge.bytes.first] = begins[edge.bytes.last + 1] = true;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) class_bytes_.push_back(static_cast<uint8_t>(byte));
    classes_[byte] = static_cast<uint8_t>(class_bytes_.size() - 1);
  }
}

void Grammar::find_tails() {
  is_tail_.assign(states(), false);
  // A state's only free edges lead to tails; found backwards from the final states.
  std::vector<uint32_t> left(states());
  std::vector<std::vector<uint32_t>> sources(states());
  std::vector<uint32_t> open;
  for (uint32_t state = 0; state < states(); ++state) {
    const std::span<const FreeEdge> edges = free_edges(state);
    const bool calls = std::ranges::any_of(edges, [](const FreeEdge& edge) { return edge.rule != FreeEdge::kNoRule; });
    if (calls || !byte_edges(state).empty()) continue;
    left[state] = static_cast<uint32_t>(edges.size());
    for (const FreeEdge& edge : edges) sources[edge.to].push_back(state);
    if (edges.empty() && is_final(state)) open.push_back(state);
  }
  while (!open.empty()) {
    const uint32_t state = open.back();
    open.pop_back();
    is_tail_[state] = true;
    for (const uint32_t source : sources[state]) {
      if (--left[source] == 0) open.push_back(source);
    }
  }
}

Result<Grammar> Grammar::parse(std::string_view text, std::string_view name, const SyntaxLimits& limits) {
  CRIA_TRY_ASSIGN(const Syntax syntax, parse_syntax(text, name, limits));
  const RuleFacts facts(syntax);
  const auto ending = facts.solve([&](uint32_t part, const auto& known) { return may_end(syntax, part, known); });
  if (const auto endless = std::ranges::find(ending, false); endless != ending.end()) {
    const Rule& rule = syntax.rules[static_cast<size_t>(endless - ending.begin())];
    return fail(ErrorCode::kInvalidInput,
                "{}: no text fits the rule \"{}\" in line {}: it needs itself, and so would never end", name,
                rule.name.substr(0, 60), rule.line);
  }
  const auto empty = facts.solve([&](uint32_t part, const auto& known) { return accepts_empty(syntax, part, known); });
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> order, order_rules(syntax, empty, name));
  return Compiler(syntax, name).compile(order, empty);
}

}  // namespace cria::grammar
