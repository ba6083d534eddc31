// Tokens that are found in the text as they stand, before the merges: <s>, <|im_start|> and the like.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/bpe.h"

namespace cria::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the blanks before it
  bool rstrip = false;       ///< takes the blanks after it
  bool normalized = false;   ///< looked for in the normalised text
  bool special = false;
};

/// Errors: kInvalidInput for entries of the wrong form, ids out of range or duplicated.
Result<std::vector<AddedToken>> parse_added_tokens(const Json& list, std::string_view name);

/// Finds tokens in a text: the leftmost, and the longest among those that begin at one place.
class TokenFinder {
 public:
  /// `spelling` is what to look for: the content, or its normalised form.
  void add(const AddedToken& token, std::string spelling);
  [[nodiscard]] bool empty() const { return entries_.empty(); }

  struct Segment {
    std::string_view text;
    std::optional<TokenId> token;  ///< set where the segment is a token
  };
  /// Cuts a text into tokens and what lies between, in at most text times longest token steps.
  [[nodiscard]] std::vector<Segment> split(std::string_view text) const;

 private:
  struct Entry {
    AddedToken token;
    std::string spelling;
  };
  [[nodiscard]] const Entry* longest_at(std::string_view text, size_t at) const;

  std::vector<Entry> entries_;
  // A trie of the spellings: edges from (node, byte) to node, and the entry that ends at a node.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<int32_t> entry_of_node_ = {-1};
};

}  // namespace cria::text
