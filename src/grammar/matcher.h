// Which tokens may come next, in texts that follow a grammar.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "grammar/machine.h"
#include "grammar/vocabulary.h"

namespace cria::grammar {

/// A grammar at work with a vocabulary: what texts that follow it share. A mask that was computed once is kept. Not for
/// several threads at once.
class TokenMasks {
 public:
  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const Vocabulary> vocabulary,
             const MachineLimits& limits = {});

  [[nodiscard]] const Vocabulary& vocabulary() const { return *vocabulary_; }
  [[nodiscard]] const std::shared_ptr<const Grammar>& grammar() const { return grammar_; }
  /// Of masks that were computed, not found.
  [[nodiscard]] uint64_t computed() const { return computed_; }

 private:
  friend class Matcher;
  struct Mask {
    std::vector<uint32_t> words;
    bool is_known = false;
    bool is_empty = true;
  };
  uint32_t open();
  void close(uint32_t text);
  bool advance(uint32_t text, std::string_view bytes);
  const Mask& mask(uint32_t text);
  void compute(uint32_t set, Mask& mask);
  void make_room();

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  Machine machine_;
  uint64_t most_machine_bytes_;  // when a mask is begun, so that there is room to compute it
  std::vector<uint32_t> texts_;  // the set where each stands; kFree where there is none
  std::vector<Mask> masks_;      // of sets
  uint64_t mask_bytes_ = 0;
  Mask passing_;  // one that limits have cut short, which is not kept
  std::vector<uint32_t> path_;
  uint64_t computed_ = 0;
};

/// One text that follows a grammar.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<TokenMasks> masks) : masks_(std::move(masks)), text_(masks_->open()) {}
  ~Matcher() {
    if (masks_) masks_->close(text_);
  }
  Matcher(Matcher&& other) noexcept = default;
  Matcher& operator=(Matcher&& other) noexcept {
    std::swap(masks_, other.masks_);
    std::swap(text_, other.text_);
    return *this;
  }

  /// Goes on behind a token's bytes. False, and nothing changes, where the grammar does not allow them.
  bool advance(uint32_t token);
  bool advance(std::string_view bytes) { return masks_->advance(text_, bytes); }

  /// The text so far is whole.
  [[nodiscard]] bool may_end() const;
  /// It is, and nothing can follow.
  [[nodiscard]] bool is_complete() const;

  /// Bit t % 32 of word t / 32 tells whether token t may come next. Valid until the next call of any matcher that
  /// shares the masks.
  [[nodiscard]] std::span<const uint32_t> mask() { return masks_->mask(text_).words; }
  /// No token may come next.
  [[nodiscard]] bool is_stuck() { return masks_->mask(text_).is_empty; }

 private:
  std::shared_ptr<TokenMasks> masks_;
  uint32_t text_;
};

}  // namespace cria::grammar
