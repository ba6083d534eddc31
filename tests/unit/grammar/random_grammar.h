// Random grammars, and a recogniser that is slow and obviously right.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace cria::grammar {

/// A part of a rule as a test makes it up. Characters are single bytes, so that a text is a string of them.
struct RandomPart {
  enum class Kind { kText, kSet, kRule, kSequence, kAlternatives, kRepetition };
  Kind kind = Kind::kText;
  std::string text;  ///< of kText; of kSet the characters
  bool is_negated = false;
  uint32_t rule = 0;
  uint32_t least = 0, most = 0;  ///< most 0: without end
  std::vector<RandomPart> parts;
};

class RandomGrammar {
 public:
  static constexpr const char* kAlphabet = "abc";

  explicit RandomGrammar(std::mt19937& random) : random_(random) {
    const uint32_t rules = 1 + below(4);
    for (uint32_t rule = 0; rule < rules; ++rule) rules_.push_back(part(3, rules));
  }

  /// In the dialect; rule 0 is the root.
  [[nodiscard]] std::string text() const {
    std::string text;
    for (size_t rule = 0; rule < rules_.size(); ++rule) {
      text += fmt::format("{} ::= {}\n", name(rule), spell(rules_[rule]));
    }
    return text;
  }

  /// Whether the whole text is accepted. Not for grammars with left recursion.
  [[nodiscard]] bool accepts(const std::string& text) const {
    Memo memo;
    return ends(rules_[0], text, 0, memo).contains(text.size());
  }

 private:
  using Ends = std::set<size_t>;
  using Memo = std::map<std::pair<uint32_t, size_t>, Ends>;

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  static std::string name(size_t rule) { return rule == 0 ? "root" : fmt::format("rule-{}", rule); }

  RandomPart part(uint32_t depth, uint32_t rules) {
    using Kind = RandomPart::Kind;
    RandomPart part;
    const uint32_t kind = depth == 0 ? below(3) : below(6);
    part.kind = static_cast<Kind>(kind);
    if (part.kind == Kind::kText || part.kind == Kind::kSet) {
      const uint32_t length = part.kind == Kind::kSet ? 1 + below(2) : below(3);
      for (uint32_t i = 0; i < length; ++i) part.text += kAlphabet[below(3)];
      part.is_negated = below(4) == 0;
    } else if (part.kind == Kind::kRule) {
      part.rule = below(rules);
    } else {
      const uint32_t count = part.kind == Kind::kRepetition ? 1 : 1 + below(3);
      for (uint32_t i = 0; i < count; ++i) part.parts.push_back(this->part(depth - 1, rules));
      part.least = below(3);
      part.most = below(3) == 0 ? 0 : part.least + 1 + below(2);
    }
    return part;
  }

  static std::string spell(const RandomPart& part) {
    using Kind = RandomPart::Kind;
    switch (part.kind) {
      case Kind::kText: return "\"" + part.text + "\"";
      case Kind::kSet: return fmt::format("[{}{}]", part.is_negated ? "^" : "", part.text);
      case Kind::kRule: return name(part.rule);
      case Kind::kRepetition: {
        const std::string counts =
            part.most == 0 ? fmt::format("{{{},}}", part.least) : fmt::format("{{{},{}}}", part.least, part.most);
        return "(" + spell(part.parts[0]) + ")" + counts;
      }
      default: break;
    }
    std::string text = "(";
    for (size_t i = 0; i < part.parts.size(); ++i) {
      if (i > 0) text += part.kind == Kind::kAlternatives ? " | " : " ";
      text += spell(part.parts[i]);
    }
    return text + ")";
  }

  /// Where a part may end that begins at `at`.
  Ends ends(const RandomPart& part, const std::string& text, size_t at, Memo& memo) const {
    using Kind = RandomPart::Kind;
    Ends result;
    switch (part.kind) {
      case Kind::kText:
        if (text.compare(at, part.text.size(), part.text) == 0) result.insert(at + part.text.size());
        break;
      case Kind::kSet:
        if (at < text.size() && (part.text.find(text[at]) != std::string::npos) != part.is_negated)
          result.insert(at + 1);
        break;
      case Kind::kRule: {
        const auto key = std::make_pair(part.rule, at);
        if (const auto known = memo.find(key); known != memo.end()) return known->second;
        result = ends(rules_[part.rule], text, at, memo);
        memo[key] = result;
        break;
      }
      case Kind::kSequence:
        result = {at};
        for (const RandomPart& inner : part.parts) result = all_ends(inner, text, result, memo);
        break;
      case Kind::kAlternatives:
        for (const RandomPart& inner : part.parts) result.merge(ends(inner, text, at, memo));
        break;
      case Kind::kRepetition: {
        Ends reached = {at};
        for (uint32_t i = 0; i < part.least; ++i) reached = all_ends(part.parts[0], text, reached, memo);
        result = reached;
        // Without end: as often as there are characters left is enough, as what is empty adds nothing.
        const size_t more = part.most == 0 ? text.size() + 1 : part.most - part.least;
        for (size_t i = 0; i < more; ++i) {
          reached = all_ends(part.parts[0], text, reached, memo);
          result.insert(reached.begin(), reached.end());
        }
        break;
      }
    }
    return result;
  }

  Ends all_ends(const RandomPart& part, const std::string& text, const Ends& from, Memo& memo) const {
    Ends result;
    for (const size_t at : from) result.merge(ends(part, text, at, memo));
    return result;
  }

  std::mt19937& random_;
  std::vector<RandomPart> rules_;
};

}  // namespace cria::grammar
