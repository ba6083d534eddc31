// Guesses how a text goes on from what stood there when its last tokens came before.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace cria::engine {

/// An index of the short runs of tokens in a text, the latest place of each. Source: Saxena 2023, "Prompt Lookup
/// Decoding".
class PromptLookup {
 public:
  static constexpr uint32_t kLongest = 4;   ///< tokens that must have come before; tried first
  static constexpr uint32_t kShortest = 2;  ///< with less, most guesses are wrong

  /// Another text begins.
  void clear();
  /// What followed the longest run of the last tokens that the text holds a second time: at most so many tokens, none
  /// where there is no such run. Where it leads to the end of the text, it goes on in the draft. `text` begins with
  /// what it was in the call before, since the last clear().
  std::vector<uint32_t> draft(std::span<const uint32_t> text, uint32_t most);

 private:
  void learn(std::span<const uint32_t> text);

  std::unordered_map<uint64_t, uint32_t> places_;  // of what followed a run, by the run's hash
  size_t learned_ = 0;                             // tokens whose place is known as one that follows a run
};

}  // namespace cria::engine
