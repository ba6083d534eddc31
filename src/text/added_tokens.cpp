#include "text/added_tokens.h"

#include <algorithm>
#include <set>

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

constexpr uint64_t edge_key(uint32_t node, char byte) { return uint64_t{node} << 8 | static_cast<unsigned char>(byte); }

bool is_word(char32_t c) { return is_letter(c) || is_number(c) || c == '_'; }

/// Whether the character that ends at text[end] / begins at text[at] is part of a word.
bool word_before(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return is_word(decode_utf8(text, begin).value);
}
bool word_after(std::string_view text, size_t at) { return at < text.size() && is_word(decode_utf8(text, at).value); }

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
  std::set<TokenId> ids;
  for (const Json& entry : list) {
    CRIA_TRY_ASSIGN(AddedToken token, parse_token(entry, name));
    if (!ids.insert(token.id).second) {
      return fail(ErrorCode::kInvalidInput, "{}: two added tokens have the id {}", name, token.id);
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void TokenFinder::add(const AddedToken& token, std::string spelling) {
  if (spelling.empty()) return;
  uint32_t node = 0;
  for (const char byte : spelling) {
    const auto fresh = static_cast<uint32_t>(entry_of_node_.size());
    const auto [edge, inserted] = edges_.emplace(edge_key(node, byte), fresh);
    if (inserted) entry_of_node_.push_back(-1);
    node = edge->second;
  }
  entry_of_node_[node] = static_cast<int32_t>(entries_.size());
  entries_.push_back({token, std::move(spelling)});
}

const TokenFinder::Entry* TokenFinder::longest_at(std::string_view text, size_t at) const {
  uint32_t node = 0;
  int32_t longest = -1;
  for (; at < text.size(); ++at) {
    const auto edge = edges_.find(edge_key(node, text[at]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (entry_of_node_[node] >= 0) longest = entry_of_node_[node];
  }
  return longest < 0 ? nullptr : &entries_[static_cast<size_t>(longest)];
}

std::vector<TokenFinder::Segment> TokenFinder::split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text, at);
    if (entry == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + entry->spelling.size();
    at = end;
    if (begin < done) continue;  // rstrip of the token before took it
    if (entry->token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (entry->token.lstrip) begin = blanks_begin(text, done, begin);
    if (entry->token.rstrip) at = end = blanks_end(text, end);
    if (begin > done) segments.push_back({text.substr(done, begin - done), std::nullopt});
    segments.push_back({text.substr(begin, end - begin), entry->token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), std::nullopt});
  return segments;
}

}  // namespace cria::text
