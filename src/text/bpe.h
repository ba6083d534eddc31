// Byte pair encoding: a vocabulary, ranked merges, and the merge loop.
// Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/hash_tables.h"

namespace cria::text {

/// Ids above this are refused: no vocabulary is that large, and tables are sized by the largest id.
inline constexpr uint32_t kMaxTokenId = (1U << 22) - 1;

class Bpe {
 public:
  /// Memory that encode() works in, kept from piece to piece.
  struct Scratch {
    struct Symbol {
      TokenId id;
      int32_t previous, next;  ///< -1 at the ends
      uint32_t rank;           ///< of the merge with the next one, kNoMerge where there is none
      TokenId result;          ///< of that merge
    };
    std::vector<TokenId> ids;
    std::vector<Symbol> symbols;
    std::vector<uint64_t> queue;
  };

  /// From the "model" of tokenizer.json. `byte_level` says that pieces are bytes, spelled in the
  /// vocabulary with GPT-2's byte alphabet. Errors: kUnsupported for other models and options,
  /// kInvalidInput for ids out of range or duplicated and merges of unknown tokens.
  static Result<Bpe> from_json(const Json& model, bool byte_level, std::string_view name);

  /// Appends the tokens of one piece (valid UTF-8, or bytes where byte-level; under 2 GiB). O(n log n).
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;

  [[nodiscard]] std::optional<TokenId> find(std::string_view spelling) const { return vocabulary_.find(spelling); }
  /// The spelling in the vocabulary; nothing for an id without one.
  [[nodiscard]] std::optional<std::string_view> spelling(TokenId id) const { return vocabulary_.spelling(id); }
  /// The largest id + 1.
  [[nodiscard]] size_t size() const { return vocabulary_.end_id(); }

 private:
  static constexpr uint32_t kNoMerge = UINT32_MAX;

  Status read_vocabulary(const Json& vocabulary, std::string_view name);
  Status read_merges(const Json& merges, std::string_view name);
  Status read_options(const Json& model, std::string_view name);
  void find_bytes();
  void first_symbols(std::string_view piece, std::vector<TokenId>& ids) const;
  void merge(Scratch& scratch, std::vector<TokenId>& out) const;
  void look_up(std::vector<Scratch::Symbol>& symbols, int32_t left) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<std::optional<TokenId>, 256> byte_tokens_{};  // <0xXX>, or the byte alphabet
  std::optional<TokenId> unknown_;
  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

/// GPT-2's spelling of a byte as a character: printable bytes stand for themselves, the others for
/// U+0100 and on.
[[nodiscard]] char32_t byte_to_character(uint8_t byte);
/// The byte that a character spells, or nothing.
[[nodiscard]] std::optional<uint8_t> character_to_byte(char32_t character);
/// Bytes spelled in the byte alphabet.
[[nodiscard]] std::string spell_bytes(std::string_view bytes);

}  // namespace cria::text
