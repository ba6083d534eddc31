#include "text/tokenizer.h"

#include <algorithm>

#include "base/json_fields.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

constexpr size_t kMaxTextBytes = size_t{16} << 20;

/// An element of the file, null where it is missing.
const Json& element(const Json& object, const char* key) {
  static const Json kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

/// The spelling of a token in tokenizer_config.json: a string, or an object with its "content".
Result<std::optional<std::string>> token_setting(const Json& settings, const char* key, std::string_view name) {
  const Json& value = element(settings, key);
  const Json& content = value.is_object() ? element(value, "content") : value;
  if (content.is_null()) return std::nullopt;
  if (!content.is_string()) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, neither a string nor an object with a \"content\" string",
                name, key, shown(value));
  }
  return content.get<std::string>();
}

}  // namespace

Result<Tokenizer> Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                       std::string_view name) {
  CRIA_TRY_ASSIGN(const Json root, parse_json(tokenizer_json, name));
  return from_document(root, tokenizer_config_json, name);
}

Result<Tokenizer> Tokenizer::from_document(const Json& root, std::string_view tokenizer_config_json,
                                           std::string_view name) {
  if (!root.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  Tokenizer tokenizer;
  CRIA_TRY_ASSIGN(tokenizer.normalizer_, Normalizer::from_json(element(root, "normalizer"), name));
  CRIA_TRY_ASSIGN(tokenizer.pretokenizer_, PreTokenizer::from_json(element(root, "pre_tokenizer"), name));
  CRIA_TRY_ASSIGN(tokenizer.bpe_,
                  Bpe::from_json(element(root, "model"), tokenizer.pretokenizer_.is_byte_level(), name));
  CRIA_TRY_ASSIGN(tokenizer.decoder_, DecoderRules::from_json(element(root, "decoder"), name));
  CRIA_TRY(tokenizer.read_added(element(root, "added_tokens"), name));
  const auto is_known = [&](TokenId id) { return tokenizer.id_to_token(id).has_value(); };
  CRIA_TRY_ASSIGN(tokenizer.template_, Template::from_json(element(root, "post_processor"), is_known, name));
  if (!tokenizer_config_json.empty()) CRIA_TRY(tokenizer.read_settings(tokenizer_config_json, name));
  return tokenizer;
}

Status Tokenizer::read_added(const Json& list, std::string_view name) {
  CRIA_TRY_ASSIGN(const std::vector<AddedToken> tokens, parse_added_tokens(list, name));
  std::vector<TokenSplitter::Entry> raw;
  std::vector<TokenSplitter::Entry> normalized;
  vocab_size_ = bpe_.size();
  for (const AddedToken& token : tokens) {
    const auto known = bpe_.find(token.content);
    const auto holder = bpe_.spelling(token.id);
    if (known.value_or(token.id) != token.id || holder.value_or(token.content) != token.content) {
      return fail(ErrorCode::kInvalidInput, "{}: the added token {} has the id {}, which disagrees with the vocabulary",
                  name, shown(Json(token.content)), token.id);
    }
    const std::string spelling = token.normalized ? normalizer_.apply(token.content) : token.content;
    // A token whose spelling the normalizer changes is shown in that form and, because its name is then
    // another than the special one, never skipped: what Hugging Face's tokenizers 0.23 do.
    added_[token.id] = {token.content, spelling, token.special, token.special && spelling == token.content};
    added_ids_[token.content] = token.id;
    vocab_size_ = std::max(vocab_size_, size_t{token.id} + 1);
    if (!spelling.empty()) (token.normalized ? normalized : raw).push_back({token, spelling});
  }
  CRIA_TRY_ASSIGN(raw_splitter_, TokenSplitter::create(std::move(raw), name));
  CRIA_TRY_ASSIGN(normalized_splitter_, TokenSplitter::create(std::move(normalized), name));
  return {};
}

Status Tokenizer::read_settings(std::string_view text, std::string_view name) {
  const std::string full_name = fmt::format("{} (tokenizer_config.json beside it)", name);
  CRIA_TRY_ASSIGN(const Json settings, parse_json(text, full_name));
  if (!settings.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", full_name);
  CRIA_TRY_ASSIGN(const auto bos, token_setting(settings, "bos_token", full_name));
  CRIA_TRY_ASSIGN(const auto eos, token_setting(settings, "eos_token", full_name));
  if (bos) bos_token_ = token_to_id(*bos);
  if (eos) eos_token_ = token_to_id(*eos);
  return {};
}

void Tokenizer::encode_plain(std::string_view text, bool is_first, bool find_special, Bpe::Scratch& scratch,
                             std::vector<TokenId>& ids) const {
  const std::string normalized = normalizer_.apply(text);
  for (const Segment& segment : normalized_splitter_.split(normalized, find_special)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      for (const std::string& piece : pretokenizer_.split(segment.text, is_first)) bpe_.encode(piece, scratch, ids);
    }
    is_first = false;
  }
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    return fail(ErrorCode::kInvalidInput, "the text has {} bytes, the limit is {}", with_commas(text.size()),
                with_commas(kMaxTextBytes));
  }
  if (const auto bad = find_invalid_utf8(text)) {
    return fail(ErrorCode::kInvalidInput,
                "the text is not valid UTF-8: the byte {:#04x} at offset {} begins no character",
                static_cast<unsigned char>(text[*bad]), with_commas(*bad));
  }
  std::vector<TokenId> ids;
  Bpe::Scratch scratch;
  if (options.add_special_tokens) ids = template_.prefix();
  bool is_first = true;
  for (const Segment& segment : raw_splitter_.split(text, options.parse_special_tokens)) {
    if (segment.token) {
      ids.push_back(*segment.token);
    } else {
      encode_plain(segment.text, is_first, options.parse_special_tokens, scratch, ids);
    }
    is_first = false;
  }
  if (options.add_special_tokens) ids.insert(ids.end(), template_.suffix().begin(), template_.suffix().end());
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) {
    CRIA_TRY_ASSIGN(const std::string piece, decoder.push(id));
    text += piece;
  }
  return text + decoder.finish();
}

Result<std::string> Tokenizer::token_bytes(TokenId id) const {
  CRIA_TRY_ASSIGN(const std::string_view spelled, spelling(id));
  return text::token_bytes(decoder_, spelled);
}

Result<std::string_view> Tokenizer::spelling(TokenId id) const {
  const Added* special = added(id);
  const auto spelled = special != nullptr ? std::string_view(special->spelling) : bpe_.spelling(id);
  if (spelled) return *spelled;
  return fail(ErrorCode::kInvalidInput, "the token {} is not in the vocabulary of {} tokens", id,
              with_commas(vocab_size_));
}

const Tokenizer::Added* Tokenizer::added(TokenId id) const {
  const auto found = added_.find(id);
  return found == added_.end() ? nullptr : &found->second;
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto added = added_ids_.find(std::string(token)); added != added_ids_.end()) return added->second;
  return bpe_.find(token);
}

std::optional<std::string_view> Tokenizer::id_to_token(TokenId id) const {
  if (const Added* token = added(id)) return token->content;
  return bpe_.spelling(id);
}

bool Tokenizer::is_special(TokenId id) const {
  const Added* token = added(id);
  return token != nullptr && token->special;
}

Result<std::string> StreamDecoder::push(TokenId id) {
  const Tokenizer::Added* added = tokenizer_->added(id);
  if (added != nullptr && added->skipped && skip_special_tokens_) return std::string();
  CRIA_TRY_ASSIGN(const std::string_view spelling, tokenizer_->spelling(id));
  return builder_.push(spelling);
}

}  // namespace cria::text
