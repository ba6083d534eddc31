#include "text/bpe.h"

#include <algorithm>
#include <functional>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

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
  vocabulary_ = Vocabulary(vocabulary.size());
  for (const auto& [spelling, id] : vocabulary.get_ref<const Json::object_t&>()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxTokenId) {
      return fail(ErrorCode::kInvalidInput, "{}: the token {} has the id {}, not a whole number from 0 to {}", name,
                  shown(Json(spelling)), shown(id), with_commas(kMaxTokenId));
    }
    if (const auto other = vocabulary_.add(spelling, id.get<TokenId>())) {
      return fail(ErrorCode::kInvalidInput, "{}: the tokens {} and {} have the same id {}", name, shown(Json(*other)),
                  shown(Json(spelling)), id.get<TokenId>());
    }
  }
  return {};
}

Status Bpe::read_merges(const Json& merges, std::string_view name) {
  merges_ = MergeTable(merges.size());
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
    merges_.set(*left_id, *right_id, {rank++, *result});
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

/// Notes the merge of a symbol with the next one, if they have one.
void Bpe::look_up(std::vector<Scratch::Symbol>& symbols, int32_t left) const {
  auto& symbol = symbols[static_cast<size_t>(left)];
  const MergeTable::Merge* merge =
      symbol.next < 0 ? nullptr : merges_.find(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
  symbol.rank = merge == nullptr ? kNoMerge : merge->rank;
  symbol.result = merge == nullptr ? 0 : merge->result;
}

/// Joins neighbours by the lowest rank first, the leftmost among equals, until no merge applies.
void Bpe::merge(Scratch& scratch, std::vector<TokenId>& out) const {
  auto& [ids, symbols, queue] = scratch;
  const auto count = static_cast<int32_t>(ids.size());
  symbols.resize(ids.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)] = {ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, kNoMerge, 0};
  }
  // An entry is a rank above a position. It is out of date where the symbol there now has another rank.
  const auto entry = [&](int32_t left) {
    return uint64_t{symbols[static_cast<size_t>(left)].rank} << 32 | static_cast<uint32_t>(left);
  };
  queue.clear();
  for (int32_t i = 0; i < count; ++i) {
    look_up(symbols, i);
    if (symbols[static_cast<size_t>(i)].rank != kNoMerge) queue.push_back(entry(i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>{});
  while (!queue.empty()) {
    const uint64_t best = queue.front();
    std::pop_heap(queue.begin(), queue.end(), std::greater<>{});
    queue.pop_back();
    const auto position = static_cast<int32_t>(best & UINT32_MAX);
    auto& left = symbols[static_cast<size_t>(position)];
    if (entry(position) != best) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    left.id = left.result;
    left.next = right.next;
    right.rank = kNoMerge;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = position;
    for (const int32_t changed : {left.previous, position}) {
      if (changed < 0) continue;
      look_up(symbols, changed);
      if (symbols[static_cast<size_t>(changed)].rank == kNoMerge) continue;
      queue.push_back(entry(changed));
      std::push_heap(queue.begin(), queue.end(), std::greater<>{});
    }
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    out.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (const auto whole = find(byte_level_ ? spell_bytes(piece) : std::string(piece))) {
      out.push_back(*whole);
      return;
    }
  }
  scratch.ids.clear();
  first_symbols(piece, scratch.ids);
  if (scratch.ids.size() < 2) {
    out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
  } else {
    merge(scratch, out);
  }
}

}  // namespace cria::text
