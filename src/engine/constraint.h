// Grammars that texts of a model follow: what of a vocabulary may come next, and where a text is whole.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "grammar/matcher.h"

namespace cria::engine {

/// One text that follows a grammar. Its methods belong to the thread of the Constraints that it came from.
class Constraint {
 public:
  /// Takes a token over into the text. Errors (kInvalidInput): the grammar does not allow it, or no token can follow.
  Status advance(uint32_t token);

  /// The text is whole, and nothing but its end can follow.
  [[nodiscard]] bool is_complete() const { return is_complete_; }

  /// Bit t % 32 of word t / 32 tells whether token t may come next: those that the grammar allows, and the tokens that
  /// end texts where the text is whole. [kernels::Sampler::mask_words()]
  [[nodiscard]] std::span<const uint32_t> mask() const { return mask_; }

 private:
  friend class Constraints;
  Constraint(grammar::Matcher matcher, const grammar::Vocabulary& vocabulary, std::vector<uint32_t> stop_tokens)
      : matcher_(std::move(matcher)), vocabulary_(&vocabulary), stop_tokens_(std::move(stop_tokens)) {}
  Status look_ahead();

  grammar::Matcher matcher_;
  const grammar::Vocabulary* vocabulary_;  // which the matcher keeps alive
  std::vector<uint32_t> stop_tokens_;
  std::vector<uint32_t> mask_;
  bool is_complete_ = false;
  std::string end_;  // of the text, for messages
};

/// The grammars at work with the vocabulary of one engine's tokenizer. Masks that texts of the same grammar share are
/// computed once; those of the grammars used last are kept. For one thread.
class Constraints {
 public:
  explicit Constraints(const Engine& engine) : engine_(&engine) {}

  /// A text that follows a grammar from its begin, and may end with these tokens. Needs the engine's tokenizer.
  /// Errors (kInvalidInput): no token can be the first.
  Result<Constraint> begin(const std::shared_ptr<const grammar::Grammar>& grammar,
                           const std::vector<uint32_t>& stop_tokens);

 private:
  const Engine* engine_;
  std::shared_ptr<const grammar::Vocabulary> vocabulary_;     // made when it is needed first
  std::vector<std::shared_ptr<grammar::TokenMasks>> recent_;  // the latest at the end
};

}  // namespace cria::engine
