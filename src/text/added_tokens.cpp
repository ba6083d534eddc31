#include "text/added_tokens.h"

#include <unordered_set>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

constexpr size_t kMaxContentBytes = 1024;

Result<AddedToken> parse_token(const Json& entry, std::string_view name) {
  if (!entry.is_object()) return fail(ErrorCode::kInvalidInput, "{}: an added token is not an object", name);
  const JsonFields fields(entry, name);
  AddedToken token;
  CRIA_TRY_ASSIGN(token.id, fields.required_whole("id", 0, kMaxTokenId));
  CRIA_TRY_ASSIGN(const auto content, fields.string("content"));
  if (!content || content->empty() || content->size() > kMaxContentBytes) {
    return fail(ErrorCode::kInvalidInput, "{}: the added token {} has no content of 1 to {} bytes", name, token.id,
                kMaxContentBytes);
  }
  token.content = *content;
  const std::pair<std::string_view, bool AddedToken::*> flags[] = {{"single_word", &AddedToken::single_word},
                                                                   {"lstrip", &AddedToken::lstrip},
                                                                   {"rstrip", &AddedToken::rstrip},
                                                                   {"normalized", &AddedToken::normalized},
                                                                   {"special", &AddedToken::special}};
  for (const auto& [key, member] : flags) {
    CRIA_TRY_ASSIGN(const auto value, fields.boolean(key));
    token.*member = value.value_or(false);
  }
  return token;
}

/// Whether the character that ends at text[end] / begins at text[at] is part of a word.
bool word_before(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return is_word_character(decode_utf8(text, begin).value);
}
bool word_after(std::string_view text, size_t at) {
  return at < text.size() && is_word_character(decode_utf8(text, at).value);
}

size_t blanks_begin(std::string_view text, size_t low, size_t end) {
  while (end > low) {
    size_t begin = end - 1;
    while (begin > low && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_white_space(decode_utf8(text, begin).value)) break;
    end = begin;
  }
  return end;
}
size_t blanks_end(std::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint point = decode_utf8(text, at);
    if (!is_white_space(point.value)) break;
    at += point.bytes;
  }
  return at;
}

}  // namespace

Result<std::vector<AddedToken>> parse_added_tokens(const Json& list, std::string_view name) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  if (!list.is_array()) return fail(ErrorCode::kInvalidInput, "{}: \"added_tokens\" is not a list", name);
  std::unordered_set<TokenId> ids;
  std::unordered_set<std::string> contents;
  for (const Json& entry : list) {
    CRIA_TRY_ASSIGN(AddedToken token, parse_token(entry, name));
    if (!ids.insert(token.id).second) {
      return fail(ErrorCode::kInvalidInput, "{}: two added tokens have the id {}", name, token.id);
    }
    if (!contents.insert(token.content).second) {
      return fail(ErrorCode::kInvalidInput, "{}: two added tokens are {}", name, shown(Json(token.content)));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Result<TokenSplitter> TokenSplitter::create(std::vector<Entry> entries, std::string_view name) {
  TokenSplitter splitter;
  std::unordered_set<std::string> seen;
  std::vector<std::string> spellings;
  for (Entry& entry : entries) {
    if (!seen.insert(entry.spelling).second) {
      return fail(ErrorCode::kInvalidInput, "{}: two added tokens are {} when normalised", name,
                  shown(Json(entry.spelling)));
    }
    splitter.lengths_.push_back(entry.spelling.size());
    splitter.tokens_.push_back(std::move(entry.token));
    spellings.push_back(std::move(entry.spelling));
  }
  splitter.finder_ = TokenFinder(spellings);
  return splitter;
}

std::vector<Segment> TokenSplitter::split(std::string_view text, bool find_special) const {
  if (finder_.empty()) return {{text, std::nullopt}};
  const std::vector<uint32_t> longest = finder_.longest_at(text);
  std::vector<Segment> segments;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (longest[at] == TokenFinder::kNone) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[longest[at]];
    size_t begin = at;
    size_t end = at + lengths_[longest[at]];
    at = end;
    // A match that is turned down still uses up its text, as in Hugging Face's tokenizers.
    if (token.special && !find_special) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip) begin = blanks_begin(text, done, begin);
    if (token.rstrip) at = end = blanks_end(text, end);
    if (begin > done) segments.push_back({text.substr(done, begin - done), std::nullopt});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), std::nullopt});
  return segments;
}

}  // namespace cria::text
