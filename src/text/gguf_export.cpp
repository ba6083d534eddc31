#include "text/gguf_export.h"

#include <algorithm>
#include <unordered_map>

#include "base/json_fields.h"
#include "text/gguf_tokenizer.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

namespace cria::text {
namespace {

/// All patterns and types of pre-tokenizer steps, in order.
void collect_steps(const Json& step, std::vector<std::string>& steps) {
  if (!step.is_object()) return;
  if (const auto list = step.find("pretokenizers"); list != step.end()) {
    for (const Json& inner : *list) collect_steps(inner, steps);
    return;
  }
  const auto type = step.find("type");
  if (type == step.end() || !type->is_string()) return;
  if (*type == "Split" && step["pattern"].is_object() && step["pattern"].contains("Regex")) {
    steps.push_back(step["pattern"]["Regex"].get<std::string>());
  } else if (*type == "ByteLevel" && step.value("use_regex", true)) {
    steps.emplace_back(pattern_text(Pattern::kGpt2));
  } else if (*type != "ByteLevel") {
    steps.push_back(type->get<std::string>());
  }
}

/// The name in GGUF's list of pre-tokenizers that cuts as this one.
Result<std::string> pre_tokenizer_name(const Json& file, bool ignore_merges, std::string_view name) {
  std::vector<std::string> steps;
  collect_steps(file.value("pre_tokenizer", Json()), steps);
  const auto is = [&](std::initializer_list<std::string_view> wanted) { return std::ranges::equal(steps, wanted); };
  if (is({pattern_text(Pattern::kGpt2)})) return "gpt-2";
  if (is({"Digits", pattern_text(Pattern::kGpt2)})) return "smollm";
  if (is({pattern_text(Pattern::kLlama3)})) return ignore_merges ? "llama-bpe" : "dbrx";
  if (is({pattern_text(Pattern::kQwen2)})) return "qwen2";
  if (is({pattern_text(Pattern::kTekken)})) return "tekken";
  return fail(ErrorCode::kUnsupported, "{}: GGUF has no name for this pre-tokenizer", name);
}

/// The score of each token: minus the rank of its first merge; characters, which are never merged, come after all.
std::vector<float> scores_of(const Json& merges, const std::vector<std::string>& tokens) {
  std::unordered_map<std::string, size_t> ranks;
  for (const Json& merge : merges) {
    std::string joined;
    if (merge.is_array()) {
      joined = merge[0].get<std::string>() + merge[1].get<std::string>();
    } else {
      joined = merge.get<std::string>();
      joined.erase(joined.find(' '), 1);
    }
    ranks.emplace(std::move(joined), ranks.size());
  }
  std::vector<float> scores;
  for (const std::string& token : tokens) {
    const auto rank = ranks.find(token);
    scores.push_back(-static_cast<float>(rank == ranks.end() ? ranks.size() : rank->second));
  }
  return scores;
}

}  // namespace

Result<GgufVocabulary> gguf_vocabulary(std::string_view text, uint32_t vocab_size, std::string_view name) {
  CRIA_TRY_ASSIGN(const Tokenizer tokenizer, Tokenizer::from_json(text, "", name));  // so that all below is there
  CRIA_TRY_ASSIGN(const Json file, parse_json(text, name));
  if (tokenizer.vocab_size() > vocab_size) {
    return fail(ErrorCode::kInvalidInput, "{}: has {} tokens, more than the model's vocabulary of {}", name,
                with_commas(tokenizer.vocab_size()), with_commas(vocab_size));
  }
  const Json& model = file.at("model");
  GgufVocabulary out;
  const bool byte_fallback = model.value("byte_fallback", Json(false)) == true;
  out.model = byte_fallback ? "llama" : "gpt2";
  out.pre = "default";
  for (uint32_t id = 0; id < vocab_size; ++id) {
    const auto token = tokenizer.id_to_token(id);
    out.tokens.push_back(token ? std::string(*token) : fmt::format("[PAD{}]", id));
    const bool is_byte =
        byte_fallback && token && token->size() == 6 && token->starts_with("<0x") && token->back() == '>';
    out.types.push_back(static_cast<int32_t>(!token    ? GgufTokenType::kUnused
                                             : is_byte ? GgufTokenType::kByte
                                                       : GgufTokenType::kNormal));
  }
  for (const Json& added : file.value("added_tokens", Json::array())) {
    const bool special = added.value("special", Json(false)) == true;
    out.types[added.at("id").get<uint32_t>()] =
        static_cast<int32_t>(special ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  }
  if (byte_fallback) {
    if (const auto unknown = model.value("unk_token", Json()); unknown.is_string()) {
      if (const auto id = tokenizer.token_to_id(unknown.get<std::string>())) {
        out.types[*id] = static_cast<int32_t>(GgufTokenType::kUnknown);
      }
    }
    out.scores = scores_of(model.at("merges"), out.tokens);
    CRIA_TRY_ASSIGN(const auto blank, tokenizer.encode("a", {.add_special_tokens = false}));
    out.add_space_prefix = !blank.empty() && tokenizer.id_to_token(blank.front()).value_or("").starts_with("\u2581");
  } else {
    CRIA_TRY_ASSIGN(out.pre, pre_tokenizer_name(file, model.value("ignore_merges", Json(false)) == true, name));
    for (const Json& merge : model.at("merges")) {
      out.merges.push_back(merge.is_array() ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                                            : merge.get<std::string>());
    }
  }
  CRIA_TRY_ASSIGN(const auto plain, tokenizer.encode("a", {.add_special_tokens = false}));
  CRIA_TRY_ASSIGN(const auto full, tokenizer.encode("a"));
  out.add_bos = !full.empty() && !plain.empty() && full.front() != plain.front();
  out.add_eos = !full.empty() && !plain.empty() && full.back() != plain.back();
  return out;
}

}  // namespace cria::text
