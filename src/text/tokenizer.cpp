#include "text/tokenizer.h"

#include <algorithm>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

/// An element of the file, null where it is missing.
const Json& element(const Json& root, const char* key) {
  static const Json kNull;
  const auto found = root.find(key);
  return found == root.end() ? kNull : *found;
}

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                       std::string_view name) {
  CRIA_TRY_ASSIGN(const Json root, parse_json(tokenizer_json, name));
  if (!root.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  Tokenizer tokenizer;
  CRIA_TRY_ASSIGN(tokenizer.normalizer_, Normalizer::from_json(element(root, "normalizer"), name));
  CRIA_TRY_ASSIGN(tokenizer.pretokenizer_, PreTokenizer::from_json(element(root, "pre_tokenizer"), name));
  CRIA_TRY_ASSIGN(tokenizer.bpe_,
                  Bpe::from_json(element(root, "model"), tokenizer.pretokenizer_.is_byte_level(), name));
  CRIA_TRY_ASSIGN(tokenizer.decoder_, DecoderRules::from_json(element(root, "decoder"), name));
  CRIA_TRY(tokenizer.read_added(element(root, "added_tokens"), name));
  CRIA_TRY(tokenizer.read_template(element(root, "post_processor"), name, 0));
  CRIA_TRY(tokenizer.read_settings(tokenizer_config_json, name));
  return tokenizer;
}

Status Tokenizer::read_added(const Json& list, std::string_view name) {
  CRIA_TRY_ASSIGN(const std::vector<AddedToken> tokens, parse_added_tokens(list, name));
  for (const AddedToken& token : tokens) {
    const auto known = bpe_.find(token.content);
    if (known && *known != token.id) {
      return fail(ErrorCode::kInvalidInput, "{}: the added token {} has the id {}, but {} in the vocabulary", name,
                  cria::shown(Json(token.content)), token.id, *known);
    }
    const std::string spelling = token.normalized ? normalizer_.apply(token.content) : token.content;
    (token.normalized ? normalized_finder_ : raw_finder_).add(token, spelling);
    // A token whose spelling the normalizer changes is shown in that form and, because its name is then
    // another than the special one, never skipped: what Hugging Face's tokenizers 0.23 do.
    added_[token.id] = {spelling, token.special, token.special && spelling == token.content};
    added_ids_[token.content] = token.id;
  }
  return {};
}

Status Tokenizer::read_special(const Json& item, const Json* definitions, std::string_view name) {
  const auto special = item.is_object() ? item.find("SpecialToken") : item.end();
  const bool has_name = special != item.end() && special->is_object();
  CRIA_TRY_ASSIGN(const auto id,
                  has_name ? JsonFields(*special, name).string("id") : Result<std::optional<std::string>>());
  const auto definition =
      id && definitions != nullptr && definitions->is_object() ? definitions->find(*id) : Json::const_iterator();
  if (!id || definitions == nullptr || !definitions->is_object() || definition == definitions->end() ||
      !definition->is_object() || !element(*definition, "ids").is_array()) {
    return fail(ErrorCode::kInvalidInput, "{}: the template names a special token that it does not define", name);
  }
  for (const Json& value : element(*definition, "ids")) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxTokenId || !shown(value.get<TokenId>())) {
      return fail(ErrorCode::kInvalidInput, "{}: the template's token {} has the id {}, which is not in the vocabulary",
                  name, *id, cria::shown(value));
    }
    prefix_.push_back(value.get<TokenId>());
  }
  return {};
}

/// TemplateProcessing's "single": special tokens around the sequence A. ByteLevel only concerns offsets.
Status Tokenizer::read_template(const Json& processor, std::string_view name, int depth) {
  constexpr int kMaxDepth = 4;
  if (processor.is_null()) return {};
  if (!processor.is_object() || depth > kMaxDepth) {
    return fail(ErrorCode::kInvalidInput, "{}: a post-processor is not an object, or nested deeper than {}", name,
                kMaxDepth);
  }
  const JsonFields fields(processor, name);
  CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
  if (type == "ByteLevel") return {};
  if (type == "Sequence") {
    const Json& list = element(processor, "processors");
    if (!list.is_array())
      return fail(ErrorCode::kInvalidInput, "{}: a post-processor sequence has no \"processors\"", name);
    for (const Json& step : list) CRIA_TRY(read_template(step, name, depth + 1));
    return {};
  }
  if (type != "TemplateProcessing") {
    return fail(ErrorCode::kUnsupported, "{}: the post-processor \"{}\" is not supported", name,
                type.value_or("(none)"));
  }
  const Json& single = element(processor, "single");
  if (!single.is_array()) return fail(ErrorCode::kInvalidInput, "{}: the template has no \"single\" list", name);
  bool after_text = false;
  std::vector<TokenId> before;
  for (const Json& item : single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (after_text) return fail(ErrorCode::kUnsupported, "{}: the template repeats the text", name);
      after_text = true;
      before = std::exchange(prefix_, {});
      continue;
    }
    CRIA_TRY(read_special(item, fields.find("special_tokens"), name));
  }
  if (!after_text) return fail(ErrorCode::kInvalidInput, "{}: the template has no place for the text", name);
  suffix_ = std::exchange(prefix_, std::move(before));
  return {};
}

Status Tokenizer::read_settings(std::string_view text, std::string_view name) {
  if (text.empty()) return {};
  CRIA_TRY_ASSIGN(const Json settings, parse_json(text, fmt::format("{} (tokenizer_config.json beside it)", name)));
  if (!settings.is_object()) return {};
  const auto token = [&](const char* key) -> std::optional<TokenId> {
    const Json* value = &element(settings, key);
    if (value->is_object()) value = &element(*value, "content");
    return value->is_string() ? token_to_id(value->get_ref<const std::string&>()) : std::nullopt;
  };
  bos_token_ = token("bos_token");
  eos_token_ = token("eos_token");
  return {};
}

void Tokenizer::encode_plain(std::string_view text, bool is_first, const EncodeOptions& options,
                             std::vector<TokenId>& ids) const {
  const std::string normalized = normalizer_.apply(text);
  std::vector<TokenFinder::Segment> segments = {{normalized, std::nullopt}};
  if (options.parse_special_tokens && !normalized_finder_.empty()) segments = normalized_finder_.split(normalized);
  for (const TokenFinder::Segment& segment : segments) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      for (const std::string& piece : pretokenizer_.split(segment.text, is_first)) bpe_.encode(piece, ids);
    }
    is_first = false;
  }
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (const auto bad = find_invalid_utf8(text)) {
    return fail(ErrorCode::kInvalidInput,
                "the text is not valid UTF-8: the byte {:#04x} at offset {} begins no character",
                static_cast<unsigned char>(text[*bad]), with_commas(*bad));
  }
  std::vector<TokenId> ids;
  if (options.add_special_tokens) ids = prefix_;
  std::vector<TokenFinder::Segment> segments = {{text, std::nullopt}};
  if (options.parse_special_tokens && !raw_finder_.empty()) segments = raw_finder_.split(text);
  bool is_first = true;
  for (const TokenFinder::Segment& segment : segments) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      encode_plain(segment.text, is_first, options, ids);
    }
    is_first = false;
  }
  if (options.add_special_tokens) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::optional<std::string_view> Tokenizer::shown(TokenId id) const {
  if (const auto added = added_.find(id); added != added_.end()) return added->second.spelling;
  return bpe_.spelling(id);
}

bool Tokenizer::is_skipped(TokenId id) const {
  const auto added = added_.find(id);
  return added != added_.end() && added->second.skipped;
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string_view> spellings;
  spellings.reserve(ids.size());
  for (const TokenId id : ids) {
    const auto spelling = shown(id);
    if (!spelling) {
      return fail(ErrorCode::kInvalidInput, "the token {} is not in the vocabulary of {} tokens", id, vocab_size());
    }
    if (!skip_special_tokens || !is_skipped(id)) spellings.push_back(*spelling);
  }
  return decode_all(decoder_, spellings);
}

size_t Tokenizer::vocab_size() const {
  return std::max<size_t>(bpe_.size(), added_.empty() ? 0 : size_t{added_.rbegin()->first} + 1);
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto added = added_ids_.find(token); added != added_ids_.end()) return added->second;
  return bpe_.find(token);
}

std::optional<std::string_view> Tokenizer::id_to_token(TokenId id) const {
  for (const auto& [content, added] : added_ids_) {
    if (added == id) return content;
  }
  return bpe_.spelling(id);
}

bool Tokenizer::is_special(TokenId id) const {
  const auto added = added_.find(id);
  return added != added_.end() && added->second.special;
}

Result<std::string> StreamDecoder::push(TokenId id) {
  const auto spelling = tokenizer_->shown(id);
  if (!spelling) {
    return fail(ErrorCode::kInvalidInput, "the token {} is not in the vocabulary of {} tokens", id,
                tokenizer_->vocab_size());
  }
  if (skip_special_tokens_ && tokenizer_->is_skipped(id)) return std::string();
  return builder_.push(*spelling);
}

}  // namespace cria::text
