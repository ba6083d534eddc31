// Byte pair encoding: a vocabulary, ranked merges, and the merge loop.
// Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace cria::text {

using TokenId = uint32_t;

/// Ids above this are refused: no vocabulary is that large, and tables are sized by the largest id.
inline constexpr uint32_t kMaxTokenId = (1U << 22) - 1;

class Bpe {
 public:
  /// From the "model" of tokenizer.json. `byte_level` says that pieces are bytes, spelled in the
  /// vocabulary with GPT-2's byte alphabet. Errors: kUnsupported for other models and options,
  /// kInvalidInput for ids out of range or duplicated and merges of unknown tokens.
  static Result<Bpe> from_json(const Json& model, bool byte_level, std::string_view name);

  /// Appends the tokens of one piece (valid UTF-8, or bytes where byte-level). O(n log n).
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  [[nodiscard]] std::optional<TokenId> find(std::string_view spelling) const;
  /// The spelling in the vocabulary; nothing for an id without one.
  [[nodiscard]] std::optional<std::string_view> spelling(TokenId id) const;
  /// The largest id + 1.
  [[nodiscard]] size_t size() const { return spellings_.size(); }

 private:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };
  struct Symbol {
    TokenId id;
    int32_t previous, next;
    bool alive;
  };
  /// Hashes strings and views alike.
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  Status read_vocabulary(const Json& vocabulary, std::string_view name);
  Status read_merges(const Json& merges, std::string_view name);
  Status read_options(const Json& model, std::string_view name);
  void find_bytes();
  void first_symbols(std::string_view piece, std::vector<TokenId>& ids) const;
  void merge(const std::vector<TokenId>& ids, std::vector<TokenId>& out) const;
  [[nodiscard]] const Merge* merge_of(TokenId left, TokenId right) const;

  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> spellings_;  // by id; keys of ids_, which never move
  std::unordered_map<uint64_t, Merge> merges_;
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
