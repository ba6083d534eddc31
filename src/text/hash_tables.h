// The two look-ups that tokenizing consists of: spelling to token, and pair of tokens to merge.
//
// Both tables hash with numbers drawn at random when they are made, from families of functions that are
// universal (Dietzfelbinger 1996), so that no file can be written whose entries all collide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cria::text {

using TokenId = uint32_t;

/// Spellings and ids, both ways.
class Vocabulary {
 public:
  Vocabulary() : Vocabulary(0) {}
  /// Room for `capacity` tokens, no more.
  explicit Vocabulary(size_t capacity);

  /// Adds a token. The id must be bounded by the caller, for there is a table of all ids; the spelling
  /// must be new. Where the id is taken, adds nothing and returns the spelling that has it.
  std::optional<std::string_view> add(std::string_view spelling, TokenId id);

  [[nodiscard]] std::optional<TokenId> find(std::string_view spelling) const;
  [[nodiscard]] std::optional<std::string_view> spelling(TokenId id) const;
  /// The largest id + 1.
  [[nodiscard]] TokenId end_id() const { return static_cast<TokenId>(entry_of_.size()); }

 private:
  struct Entry {
    uint64_t offset;  ///< into text_
    uint32_t size;
    TokenId id;
  };
  [[nodiscard]] std::string_view text_of(const Entry& entry) const {
    return std::string_view(text_).substr(entry.offset, entry.size);
  }
  [[nodiscard]] size_t slot_of(std::string_view spelling) const;

  std::string text_;  ///< all spellings, one after the other
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;     ///< index of an entry + 1, 0 for none; a power of two of them
  std::vector<uint32_t> entry_of_;  ///< by id: index of an entry + 1
  uint64_t seed_;
};

/// Which pairs of tokens merge: their rank (the lowest goes first) and the token they make.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };
  MergeTable() : MergeTable(0) {}
  /// Room for `capacity` pairs, no more.
  explicit MergeTable(size_t capacity);

  /// Sets the merge of a pair; a later one takes the place of an earlier.
  void set(TokenId left, TokenId right, Merge merge);
  /// The merge of a pair, or nullptr.
  [[nodiscard]] const Merge* find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t pair;
    Merge merge;
  };
  [[nodiscard]] size_t slot_of(uint64_t pair) const;

  std::vector<Slot> slots_;  ///< a power of two of them
  uint64_t multiplier_;      ///< odd
  int shift_ = 0;
};

}  // namespace cria::text
