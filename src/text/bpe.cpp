#include "text/bpe.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

constexpr uint64_t pair_key(TokenId left, TokenId right) { return uint64_t{left} << 32 | right; }

bool is_printable_byte(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct ByteAlphabet {
  std::array<char32_t, 256> characters{};
  std::array<int16_t, 0x144> bytes{};  // by character, -1 where it spells none
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet = [] {
    ByteAlphabet table;
    table.bytes.fill(-1);
    char32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const char32_t character = is_printable_byte(byte) ? byte : next++;
      table.characters[byte] = character;
      table.bytes[character] = static_cast<int16_t>(byte);
    }
    return table;
  }();
  return alphabet;
}

}  // namespace

char32_t byte_to_character(uint8_t byte) { return byte_alphabet().characters[byte]; }

std::optional<uint8_t> character_to_byte(char32_t character) {
  const auto& bytes = byte_alphabet().bytes;
  if (character >= bytes.size() || bytes[character] < 0) return std::nullopt;
  return static_cast<uint8_t>(bytes[character]);
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) append_utf8(out, byte_to_character(static_cast<uint8_t>(byte)));
  return out;
}

Result<Bpe> Bpe::from_json(const Json& model, bool byte_level, std::string_view name) {
  if (!model.is_object()) return fail(ErrorCode::kInvalidInput, "{}: has no \"model\" object", name);
  Bpe bpe;
  bpe.byte_level_ = byte_level;
  const JsonFields fields(model, name);
  CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
  const Json* vocabulary = fields.find("vocab");
  const Json* merges = fields.find("merges");
  if (type.value_or("BPE") != "BPE") {
    return fail(ErrorCode::kUnsupported, "{}: the tokenizer model \"{}\" is not supported, only BPE", name, *type);
  }
  if (vocabulary == nullptr || !vocabulary->is_object() || merges == nullptr || !merges->is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: the model has no \"vocab\" object and \"merges\" list", name);
  }
  CRIA_TRY(bpe.read_vocabulary(*vocabulary, name));
  CRIA_TRY(bpe.read_merges(*merges, name));
  CRIA_TRY(bpe.read_options(model, name));
  bpe.find_bytes();
  return bpe;
}

Status Bpe::read_vocabulary(const Json& vocabulary, std::string_view name) {
  if (vocabulary.empty()) return fail(ErrorCode::kInvalidInput, "{}: the vocabulary is empty", name);
  ids_.reserve(vocabulary.size());
  for (const auto& [spelling, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxTokenId) {
      return fail(ErrorCode::kInvalidInput, "{}: the token {} has the id {}, not a whole number from 0 to {}", name,
                  shown(Json(spelling)), shown(id), kMaxTokenId);
    }
    const auto value = id.get<TokenId>();
    if (value >= spellings_.size()) spellings_.resize(value + 1);
    const auto entry = ids_.emplace(spelling, value).first;
    if (spellings_[value] != nullptr) {
      return fail(ErrorCode::kInvalidInput, "{}: the tokens {} and {} have the same id {}", name,
                  shown(Json(*spellings_[value])), shown(Json(spelling)), value);
    }
    spellings_[value] = &entry->first;
  }
  return {};
}

Status Bpe::read_merges(const Json& merges, std::string_view name) {
  merges_.reserve(merges.size());
  uint32_t rank = 0;
  std::string joined;
  for (const Json& merge : merges) {
    std::string_view left;
    std::string_view right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space != std::string_view::npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    }
    joined.assign(left).append(right);
    const auto left_id = find(left);
    const auto right_id = find(right);
    const auto result = find(joined);
    if (!left_id || !right_id || !result) {
      return fail(ErrorCode::kInvalidInput, "{}: the merge {} names tokens that are not in the vocabulary", name,
                  shown(merge));
    }
    merges_.emplace(pair_key(*left_id, *right_id), Merge{rank++, *result});
  }
  return {};
}

Status Bpe::read_options(const Json& model, std::string_view name) {
  const JsonFields fields(model, name);
  CRIA_TRY_ASSIGN(const auto dropout, fields.number("dropout", 0, 1));
  if (dropout.value_or(0) != 0) return fail(ErrorCode::kUnsupported, "{}: BPE dropout is not supported", name);
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    CRIA_TRY_ASSIGN(const auto affix, fields.string(key));
    if (!affix.value_or("").empty()) {
      return fail(ErrorCode::kUnsupported, "{}: the option \"{}\" of the tokenizer is not supported", name, key);
    }
  }
  CRIA_TRY_ASSIGN(const auto fallback, fields.boolean("byte_fallback"));
  CRIA_TRY_ASSIGN(const auto fuse, fields.boolean("fuse_unk"));
  CRIA_TRY_ASSIGN(const auto ignore, fields.boolean("ignore_merges"));
  CRIA_TRY_ASSIGN(const auto unknown, fields.string("unk_token"));
  byte_fallback_ = fallback.value_or(false);
  fuse_unknown_ = fuse.value_or(false);
  ignore_merges_ = ignore.value_or(false);
  if (unknown) unknown_ = find(*unknown);
  return {};
}

/// The token of each byte, where the vocabulary has one.
void Bpe::find_bytes() {
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<char>(byte);
    byte_tokens_[byte] = byte_level_ ? find(spell_bytes({&value, 1})) : find(fmt::format("<0x{:02X}>", byte));
  }
}

std::optional<TokenId> Bpe::find(std::string_view spelling) const {
  const auto found = ids_.find(spelling);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string_view> Bpe::spelling(TokenId id) const {
  if (id >= spellings_.size() || spellings_[id] == nullptr) return std::nullopt;
  return *spellings_[id];
}

const Bpe::Merge* Bpe::merge_of(TokenId left, TokenId right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// The tokens that a piece begins as: one per byte or character; characters that the vocabulary does not
/// have become their bytes' tokens, or the unknown token.
void Bpe::first_symbols(std::string_view piece, std::vector<TokenId>& ids) const {
  bool after_unknown = false;
  const auto add_unknown = [&] {
    if (unknown_ && !(fuse_unknown_ && after_unknown)) ids.push_back(*unknown_);
    after_unknown = true;
  };
  for (size_t at = 0; at < piece.size();) {
    const uint32_t bytes = byte_level_ ? 1 : decode_utf8(piece, at).bytes;
    const std::string_view character = piece.substr(at, bytes);
    at += bytes;
    const auto byte_token = [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
    const auto token = byte_level_ ? byte_token(character[0]) : find(character);
    if (token) {
      ids.push_back(*token);
      after_unknown = false;
    } else if (!byte_level_ && byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char byte) {
                 return byte_token(byte).has_value();
               })) {
      for (const char byte : character) ids.push_back(*byte_token(byte));
      after_unknown = false;
    } else {
      add_unknown();
    }
  }
}

/// Joins neighbours by the lowest rank first, the leftmost among equals, until no merge applies.
void Bpe::merge(const std::vector<TokenId>& ids, std::vector<TokenId>& out) const {
  struct Candidate {
    uint32_t rank;
    int32_t left;
    TokenId left_id, right_id, result;
    bool operator>(const Candidate& other) const { return std::tie(rank, left) > std::tie(other.rank, other.left); }
  };
  std::vector<Symbol> symbols(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto index = static_cast<int32_t>(i);
    symbols[i] = {.id = ids[i], .previous = index - 1, .next = i + 1 < ids.size() ? index + 1 : -1, .alive = true};
  }
  std::vector<Candidate> storage;
  storage.reserve(ids.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{}, std::move(storage));
  const auto offer = [&](int32_t left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const TokenId left_id = symbols[static_cast<size_t>(left)].id;
    const TokenId right_id = symbols[static_cast<size_t>(symbols[static_cast<size_t>(left)].next)].id;
    if (const Merge* merge = merge_of(left_id, right_id))
      queue.push({merge->rank, left, left_id, right_id, merge->result});
  };
  for (size_t i = 0; i < symbols.size(); ++i) offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (!left.alive || left.id != best.left_id || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != best.right_id) continue;  // one of the two has been merged since
    left.id = best.result;
    right.alive = false;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = best.left;
    offer(left.previous);
    offer(best.left);
  }
  for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    out.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (const auto whole = find(byte_level_ ? spell_bytes(piece) : std::string(piece))) {
      out.push_back(*whole);
      return;
    }
  }
  std::vector<TokenId> ids;
  ids.reserve(piece.size());
  first_symbols(piece, ids);
  if (ids.size() < 2) {
    out.insert(out.end(), ids.begin(), ids.end());
  } else {
    merge(ids, out);
  }
}

}  // namespace cria::text
