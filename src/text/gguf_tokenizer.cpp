#include "text/gguf_tokenizer.h"

#include <algorithm>
#include <numeric>

#include "base/json_fields.h"
#include "text/bpe.h"
#include "text/hash_tables.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

/// SentencePiece's tokens have 16 characters, of 4 bytes at most. Finding merges takes the square of this for each.
constexpr size_t kMaxPieceBytes = 128;
/// Published models have up to some thousand; each costs much more memory than its text.
constexpr size_t kMaxAdded = 32'768;
constexpr std::string_view kSpace = "\u2581";

/// How a pre-tokenizer of GGUF's list cuts texts.
struct PreTokenizerRow {
  std::string_view name;
  std::vector<Pattern> patterns;
  bool single_digits = false;  ///< before the patterns
  bool add_bos = false;        ///< where the file does not say
  bool ignore_merges = false;  ///< a piece that is a token stays whole
  bool nfc = false;            ///< texts are normalised
};

const std::vector<PreTokenizerRow>& pre_tokenizers() {
  static const std::vector<PreTokenizerRow> rows = [] {
    std::vector<PreTokenizerRow> list = {
        {.name = "default", .patterns = {Pattern::kSymbols, Pattern::kGpt2}},
        {.name = "tekken", .patterns = {Pattern::kTekken}, .add_bos = true, .ignore_merges = true},
    };
    for (const char* name : {"llama3", "llama-v3", "llama-bpe"}) {
      list.push_back({.name = name, .patterns = {Pattern::kLlama3}, .add_bos = true, .ignore_merges = true});
    }
    for (const char* name : {"dbrx", "smaug-bpe"}) list.push_back({.name = name, .patterns = {Pattern::kLlama3}});
    for (const char* name : {"qwen2", "deepseek-r1-qwen", "megrez"}) {
      list.push_back({.name = name, .patterns = {Pattern::kQwen2}, .nfc = true});
    }
    list.push_back({.name = "stablelm2", .patterns = {Pattern::kQwen2}});
    for (const char* name : {"gpt-2", "phi-2", "olmo", "jina-es", "jina-de"}) {
      list.push_back({.name = name, .patterns = {Pattern::kGpt2}});
    }
    for (const char* name : {"smollm", "starcoder", "refact", "command-r"}) {
      list.push_back({.name = name, .patterns = {Pattern::kGpt2}, .single_digits = true});
    }
    return list;
  }();
  return rows;
}

class Translator {
 public:
  Translator(const GgufTokenizer& gguf, std::string_view name) : gguf_(gguf), name_(name) {}

  Result<TokenizerFiles> translate() {
    CRIA_TRY(check());
    files_.tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
    if (gguf_.model == "llama") {
      CRIA_TRY(sentence_piece());
    } else {
      CRIA_TRY(byte_level());
    }
    add_vocabulary();
    files_.tokenizer_config = tokenizer_config_of_gguf(gguf_);
    return std::move(files_);
  }

 private:
  template <typename... Args>
  [[nodiscard]] std::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) const {
    return fail(ErrorCode::kInvalidInput, "{}: {}", name_, fmt::format(format, std::forward<Args>(args)...));
  }

  [[nodiscard]] GgufTokenType type(size_t id) const {
    return gguf_.types.empty() ? GgufTokenType::kNormal : static_cast<GgufTokenType>(gguf_.types[id]);
  }

  /// Whether a token is found in texts as it stands.
  [[nodiscard]] bool is_added(size_t id) const {
    return type(id) == GgufTokenType::kControl || type(id) == GgufTokenType::kUnknown ||
           type(id) == GgufTokenType::kUserDefined;
  }

  Status check() {
    if (gguf_.model != "llama" && gguf_.model != "gpt2") {
      return fail(ErrorCode::kUnsupported, "{}: the tokenizer {} is not supported; llama and gpt2 are", name_,
                  shown(Json(std::string(gguf_.model))));
    }
    const size_t count = gguf_.tokens.size();
    if (count == 0 || count > kMaxTokenId) {
      return refuse("\"tokenizer.ggml.tokens\" is missing, or has not 1 to {} elements", with_commas(kMaxTokenId));
    }
    if (!gguf_.types.empty() && gguf_.types.size() != count) {
      return refuse("\"tokenizer.ggml.token_type\" has {} elements, but there are {} tokens",
                    with_commas(gguf_.types.size()), with_commas(count));
    }
    vocabulary_ = Vocabulary(count);
    size_t added = 0;
    for (size_t id = 0; id < count; ++id) {
      CRIA_TRY(check_token(id));
      if (vocabulary_.find(gguf_.tokens[id])) {
        return refuse("the token {} is {}, as one before it", id, shown(Json(std::string(gguf_.tokens[id]))));
      }
      vocabulary_.add(gguf_.tokens[id], static_cast<TokenId>(id));
      added += is_added(id);
    }
    if (added > kMaxAdded) {
      return refuse("has {} control and user-defined tokens, more than {}", with_commas(added), with_commas(kMaxAdded));
    }
    for (const auto& [key, id] : {std::pair("bos", gguf_.bos), {"eos", gguf_.eos}, {"unknown", gguf_.unknown}}) {
      if (id.value_or(0) >= count) {
        return refuse("\"tokenizer.ggml.{}_token_id\" is {}, not a token below {}", key, *id, with_commas(count));
      }
    }
    return {};
  }

  Status check_token(size_t id) const {
    const std::string_view token = gguf_.tokens[id];
    if (const auto bad = find_invalid_utf8(token)) {
      return refuse("the token {} is not valid UTF-8 at its byte {}", id, *bad);
    }
    const auto kind = static_cast<uint32_t>(type(id));
    if (kind > 6) return refuse("the token {} has the unknown type {}", id, gguf_.types[id]);
    if (type(id) == GgufTokenType::kByte) {
      const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
      if (token.size() != 6 || !token.starts_with("<0x") || !is_digit(token[3]) || !is_digit(token[4]) ||
          token[5] != '>') {
        return refuse("the token {} is {}, but of the type of bytes, which are <0x00> to <0xFF>", id,
                      shown(Json(std::string(token))));
      }
    }
    return {};
  }

  Status sentence_piece() {
    if (gguf_.scores.size() != gguf_.tokens.size()) {
      return refuse("\"tokenizer.ggml.scores\" has {} elements, but there are {} tokens",
                    with_commas(gguf_.scores.size()), with_commas(gguf_.tokens.size()));
    }
    Json& file = files_.tokenizer;
    Json normalizers = Json::array();
    const Json space_to_mark = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
    const Json mark_to_space = {{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}};
    Json decoders = Json::array({mark_to_space, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
    if (gguf_.add_space_prefix.value_or(true)) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    normalizers.push_back(space_to_mark);
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    file["pre_tokenizer"] = nullptr;
    file["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
    const size_t unknown = gguf_.unknown.value_or(0);
    file["model"] = {{"type", "BPE"},
                     {"unk_token", std::string(gguf_.tokens[unknown])},
                     {"fuse_unk", true},
                     {"byte_fallback", true},
                     {"ignore_merges", false}};
    CRIA_TRY_ASSIGN(file["model"]["merges"], merges_of_scores());
    add_template(gguf_.add_bos.value_or(true));
    return {};
  }

  /// All pairs of tokens that make a token, the highest score first, then the longest left part: the order in which
  /// Hugging Face's converter lists them.
  Result<Json> merges_of_scores() {
    struct Merge {
      float score;
      uint32_t result, left_characters, left_bytes;
    };
    std::vector<Merge> merges;
    for (size_t id = 0; id < gguf_.tokens.size(); ++id) {
      const std::string_view token = gguf_.tokens[id];
      if (type(id) != GgufTokenType::kNormal) continue;
      if (token.size() > kMaxPieceBytes) {
        return refuse("the token {} has {} bytes, more than {}", id, with_commas(token.size()), kMaxPieceBytes);
      }
      uint32_t characters = 1;
      for (uint32_t at = 1; at < token.size(); ++at) {
        if ((static_cast<unsigned char>(token[at]) & 0xC0) == 0x80) continue;
        if (vocabulary_.find(token.substr(0, at)) && vocabulary_.find(token.substr(at))) {
          merges.push_back({gguf_.scores[id], static_cast<uint32_t>(id), characters, at});
        }
        ++characters;
      }
    }
    std::ranges::stable_sort(merges, [](const Merge& a, const Merge& b) {
      return a.score != b.score ? a.score > b.score : a.left_characters > b.left_characters;
    });
    Json list = Json::array();
    for (const Merge& merge : merges) {
      const std::string_view token = gguf_.tokens[merge.result];
      list.push_back(
          Json::array({std::string(token.substr(0, merge.left_bytes)), std::string(token.substr(merge.left_bytes))}));
    }
    return list;
  }

  Status byte_level() {
    const std::string_view name = gguf_.pre.value_or("default");
    const auto& rows = pre_tokenizers();
    const auto row = std::ranges::find(rows, name, &PreTokenizerRow::name);
    if (row == rows.end()) {
      return fail(ErrorCode::kUnsupported, "{}: the pre-tokenizer {} (\"tokenizer.ggml.pre\") is not supported", name_,
                  shown(Json(std::string(name))));
    }
    Json steps = Json::array();
    if (row->single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    const auto split = [](Pattern pattern) -> Json {
      return {{"type", "Split"},
              {"pattern", {{"Regex", pattern_text(pattern)}}},
              {"behavior", "Isolated"},
              {"invert", false}};
    };
    for (const Pattern pattern : row->patterns) steps.push_back(split(pattern));
    if (name == "default") {
      steps.push_back({{"type", "Digits"}, {"individual_digits", false}});
      steps.push_back(split(Pattern::kThreeDigits));
    }
    steps.push_back({{"type", "ByteLevel"},
                     {"add_prefix_space", gguf_.add_space_prefix.value_or(false)},
                     {"trim_offsets", true},
                     {"use_regex", false}});
    Json& file = files_.tokenizer;
    file["normalizer"] = row->nfc ? Json{{"type", "NFC"}} : Json(nullptr);
    file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
    file["decoder"] = {{"type", "ByteLevel"}};
    file["model"] = {
        {"type", "BPE"}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", row->ignore_merges}};
    Json merges = Json::array();
    for (const std::string_view merge : gguf_.merges) merges.push_back(std::string(merge));
    file["model"]["merges"] = std::move(merges);
    add_template(gguf_.add_bos.value_or(row->add_bos));
    return {};
  }

  void add_vocabulary() {
    Json::object_t vocabulary;
    Json added = Json::array();
    for (size_t id = 0; id < gguf_.tokens.size(); ++id) {
      const std::string token(gguf_.tokens[id]);
      vocabulary.emplace(token, id);
      if (token.empty() || !is_added(id)) continue;
      const bool special = type(id) != GgufTokenType::kUserDefined;
      added.push_back({{"id", id},
                       {"content", token},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", special}});
    }
    files_.tokenizer["model"]["vocab"] = std::move(vocabulary);
    files_.tokenizer["added_tokens"] = std::move(added);
  }

  void add_template(bool add_bos) {
    Json single = Json::array();
    Json specials = Json::object();
    const auto add = [&](std::optional<uint64_t> id) {
      const std::string token(gguf_.tokens[*id]);
      single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
      specials[token] = {{"id", token}, {"ids", {*id}}, {"tokens", {token}}};
    };
    if (add_bos && gguf_.bos) add(gguf_.bos);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (gguf_.add_eos.value_or(false) && gguf_.eos) add(gguf_.eos);
    files_.tokenizer["post_processor"] = {
        {"type", "TemplateProcessing"}, {"single", single}, {"pair", single}, {"special_tokens", specials}};
  }

  const GgufTokenizer& gguf_;
  std::string_view name_;
  Vocabulary vocabulary_;
  TokenizerFiles files_;
};

}  // namespace

std::string tokenizer_config_of_gguf(const GgufTokenizer& gguf) {
  Json json = Json::object();
  for (const auto& [key, id] : {std::pair("bos_token", gguf.bos), {"eos_token", gguf.eos}}) {
    if (id && *id < gguf.tokens.size()) json[key] = std::string(gguf.tokens[*id]);
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<TokenizerFiles> tokenizer_of_gguf(const GgufTokenizer& gguf, std::string_view name) {
  return Translator(gguf, name).translate();
}

}  // namespace cria::text
