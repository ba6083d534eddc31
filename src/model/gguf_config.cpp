#include "model/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"
#include "model/config_parts.h"

namespace cria::model {
namespace {

using formats::GgufFields;

constexpr GgufFamily kFamilies[] = {{"llama", "LlamaForCausalLM", "llama", true},
                                    {"qwen2", "Qwen2ForCausalLM", "qwen2", false},
                                    {"qwen3", "Qwen3ForCausalLM", "qwen3", false}};

/// Reads the keys of one architecture.
class Reader {
 public:
  Reader(const GgufFields& fields, const GgufFamily& family) : fields_(fields), family_(family) {}

  [[nodiscard]] std::string key(std::string_view name) const { return fmt::format("{}.{}", family_.name, name); }
  [[nodiscard]] Result<uint32_t> required(std::string_view name, uint32_t high) const {
    CRIA_TRY_ASSIGN(const uint64_t value, fields_.required_whole(key(name), 1, high));
    return static_cast<uint32_t>(value);
  }
  [[nodiscard]] auto whole(std::string_view name, uint64_t low, uint64_t high) const {
    return fields_.whole(key(name), low, high);
  }
  [[nodiscard]] auto number(std::string_view name, double low, double high) const {
    return fields_.number(key(name), low, high);
  }
  /// One number for all layers; a list of one per layer is accepted where all are the same.
  [[nodiscard]] Result<std::optional<uint32_t>> of_layers(std::string_view name, uint32_t high) const {
    CRIA_TRY_ASSIGN(const std::vector<uint64_t> list, fields_.wholes(key(name), 1, high));
    if (list.empty()) return std::nullopt;
    if (std::ranges::any_of(list, [&](uint64_t value) { return value != list.front(); })) {
      return fail(ErrorCode::kUnsupported, "{}: \"{}\" differs from layer to layer, which is not supported",
                  fields_.name(), key(name));
    }
    return static_cast<uint32_t>(list.front());
  }
  [[nodiscard]] Result<uint32_t> required_of_layers(std::string_view name, uint32_t high) const {
    CRIA_TRY_ASSIGN(const auto value, of_layers(name, high));
    if (!value) return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is missing", fields_.name(), key(name));
    return *value;
  }
  [[nodiscard]] const GgufFields& fields() const { return fields_; }

 private:
  const GgufFields& fields_;
  GgufFamily family_;
};

/// Refuses what would change the result and is not implemented.
Status refuse_unimplemented(const Reader& reader) {
  for (const std::string_view name : {"expert_count", "expert_used_count", "expert_shared_count"}) {
    CRIA_TRY_ASSIGN(const auto count, reader.whole(name, 0, UINT32_MAX));
    if (count.value_or(0) != 0) {
      return fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}: mixtures of experts are not supported",
                  reader.fields().name(), reader.key(name), *count);
    }
  }
  for (const std::string_view name :
       {"attention.clamp_kqv", "attention.max_alibi_bias", "logit_scale", "residual_scale", "embedding_scale",
        "attention.scale", "attn_logit_softcapping", "final_logit_softcapping"}) {
    if (reader.fields().contains(reader.key(name))) {
      CRIA_TRY_ASSIGN(const auto value, reader.number(name, -1e30, 1e30));
      const bool is_scale = name.ends_with("scale");
      if (*value != 0 && !(is_scale && *value == 1)) {
        return fail(ErrorCode::kUnsupported, "{}: \"{}\": {} is not supported", reader.fields().name(),
                    reader.key(name), *value);
      }
    }
  }
  return {};
}

Result<Json> rope_scaling(const Reader& reader) {
  CRIA_TRY_ASSIGN(const auto type, reader.fields().string(reader.key("rope.scaling.type")));
  CRIA_TRY_ASSIGN(auto factor, reader.number("rope.scaling.factor", 0, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto old_factor, reader.number("rope.scale_linear", 0, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto original, reader.whole("rope.scaling.original_context_length", 1, kMaxContext));
  CRIA_TRY_ASSIGN(const auto attention, reader.number("rope.scaling.attn_factor", 1e-6, 1000));
  if (!factor) factor = old_factor;
  const bool is_scaled = factor.value_or(0) != 0 && *factor != 1;
  const std::string_view kind = type.value_or(is_scaled ? "linear" : "none");
  if (kind == "none" || (kind == "linear" && !is_scaled)) return Json(nullptr);
  if (kind == "linear") return Json{{"rope_type", "linear"}, {"factor", *factor}};
  if (kind != "yarn") {
    return fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}, which is not supported; none, linear and yarn are",
                reader.fields().name(), reader.key("rope.scaling.type"), shown(Json(std::string(kind))));
  }
  for (const auto& [name, neutral] : {std::pair("rope.scaling.yarn_log_multiplier", 0.0),
                                      {"rope.scaling.yarn_ext_factor", 1.0},
                                      {"rope.scaling.yarn_attn_factor", 1.0}}) {
    CRIA_TRY_ASSIGN(const auto value, reader.number(name, -1000, 1000));
    if (value.value_or(neutral) != neutral) {
      return fail(ErrorCode::kUnsupported, "{}: \"{}\": {} is not supported", reader.fields().name(), reader.key(name),
                  *value);
    }
  }
  Json yarn = {{"rope_type", "yarn"}, {"factor", factor.value_or(1)}};
  if (original) yarn["original_max_position_embeddings"] = *original;
  CRIA_TRY_ASSIGN(const auto beta_fast, reader.number("rope.scaling.yarn_beta_fast", 1e-6, kMaxRopeFactor));
  CRIA_TRY_ASSIGN(const auto beta_slow, reader.number("rope.scaling.yarn_beta_slow", 1e-6, kMaxRopeFactor));
  if (beta_fast) yarn["beta_fast"] = *beta_fast;
  if (beta_slow) yarn["beta_slow"] = *beta_slow;
  if (attention) yarn["attention_factor"] = *attention * (0.1 * std::log(factor.value_or(1)) + 1);
  return yarn;
}

Status read_heads(const Reader& reader, const GgufFamily& family, Json& json) {
  CRIA_TRY_ASSIGN(const uint32_t heads, reader.required_of_layers("attention.head_count", kMaxHeads));
  CRIA_TRY_ASSIGN(const auto kv_heads, reader.of_layers("attention.head_count_kv", kMaxHeads));
  if (heads % kv_heads.value_or(heads) != 0) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a multiple of \"{}\", which is {}",
                reader.fields().name(), reader.key("attention.head_count"), heads,
                reader.key("attention.head_count_kv"), *kv_heads);
  }
  json["num_attention_heads"] = heads;
  json["num_key_value_heads"] = kv_heads.value_or(heads);
  CRIA_TRY_ASSIGN(json["head_dim"], gguf_head_dim(reader.fields(), family));
  return {};
}

/// Mistral is stored as Llama, with a window where it has one.
Status read_window(const Reader& reader, Json& json) {
  CRIA_TRY_ASSIGN(const auto window, reader.whole("attention.sliding_window", 0, UINT32_MAX));
  if (window.value_or(0) == 0 || *window >= json["max_position_embeddings"].get<uint64_t>()) return {};
  if (json["model_type"] != "llama") {
    return fail(ErrorCode::kUnsupported, "{}: \"{}\": {} is not supported", reader.fields().name(),
                reader.key("attention.sliding_window"), *window);
  }
  json["architectures"] = {"MistralForCausalLM"};
  json["model_type"] = "mistral";
  json["sliding_window"] = *window;
  return {};
}

}  // namespace

Result<GgufFamily> gguf_family(const GgufFields& fields) {
  CRIA_TRY_ASSIGN(const auto name, fields.string("general.architecture"));
  if (!name) return fail(ErrorCode::kInvalidInput, "{}: \"general.architecture\" is missing", fields.name());
  const auto* family = std::ranges::find(kFamilies, *name, &GgufFamily::name);
  if (family != std::end(kFamilies)) return *family;
  return fail(ErrorCode::kUnsupported, "{}: the architecture {} is not supported; llama, qwen2 and qwen3 are",
              fields.name(), shown(Json(std::string(*name))));
}

Result<uint32_t> gguf_head_dim(const GgufFields& fields, const GgufFamily& family) {
  const Reader reader(fields, family);
  CRIA_TRY_ASSIGN(const uint32_t hidden, reader.required("embedding_length", kMaxSize));
  CRIA_TRY_ASSIGN(const uint32_t heads, reader.required_of_layers("attention.head_count", kMaxHeads));
  CRIA_TRY_ASSIGN(const auto key_length, reader.whole("attention.key_length", 1, kernels::kMaxHeadDim));
  CRIA_TRY_ASSIGN(const auto value_length, reader.whole("attention.value_length", 1, kernels::kMaxHeadDim));
  CRIA_TRY_ASSIGN(const auto rotated, reader.whole("rope.dimension_count", 1, UINT32_MAX));
  if (!key_length && hidden % heads != 0) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is {}, not a multiple of \"{}\", which is {}", fields.name(),
                reader.key("embedding_length"), hidden, reader.key("attention.head_count"), heads);
  }
  const uint64_t head_dim = key_length.value_or(hidden / heads);
  for (const auto& [name, value] :
       {std::pair("attention.value_length", value_length), {"rope.dimension_count", rotated}}) {
    if (value.value_or(head_dim) == head_dim) continue;
    return fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}, but heads are of {}: other values are not supported",
                fields.name(), reader.key(name), *value, head_dim);
  }
  if (head_dim % 2 != 0 || head_dim > kernels::kMaxHeadDim) {
    return fail(ErrorCode::kUnsupported, "{}: heads of {} elements are not supported (even, from 2 to {})",
                fields.name(), head_dim, kernels::kMaxHeadDim);
  }
  return static_cast<uint32_t>(head_dim);
}

Result<Json> gguf_config_json(const GgufFields& fields, const GgufFamily& family,
                              const formats::Checkpoint& checkpoint) {
  const Reader reader(fields, family);
  CRIA_TRY(refuse_unimplemented(reader));
  Json json = {{"architectures", {std::string(family.class_name)}}, {"model_type", std::string(family.model_type)}};
  const formats::TensorView* embedding = checkpoint.find("model.embed_tokens.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] > kMaxVocabulary) {
    return fail(ErrorCode::kInvalidInput, "{}: has no matrix \"token_embd.weight\" of at most {} rows", fields.name(),
                with_commas(kMaxVocabulary));
  }
  json["vocab_size"] = embedding->shape[0];
  json["tie_word_embeddings"] = checkpoint.find("lm_head.weight") == nullptr;
  CRIA_TRY_ASSIGN(json["hidden_size"], reader.required("embedding_length", kMaxSize));
  CRIA_TRY_ASSIGN(json["intermediate_size"], reader.required_of_layers("feed_forward_length", kMaxSize));
  CRIA_TRY_ASSIGN(json["num_hidden_layers"], reader.required("block_count", kMaxLayers));
  CRIA_TRY_ASSIGN(json["max_position_embeddings"], reader.required("context_length", kMaxContext));
  CRIA_TRY(read_heads(reader, family, json));
  CRIA_TRY(read_window(reader, json));
  CRIA_TRY_ASSIGN(const auto epsilon, reader.number("attention.layer_norm_rms_epsilon", 1e-12, 1));
  if (!epsilon) {
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is missing", fields.name(),
                reader.key("attention.layer_norm_rms_epsilon"));
  }
  json["rms_norm_eps"] = *epsilon;
  CRIA_TRY_ASSIGN(const auto theta, reader.number("rope.freq_base", 2, 1e12));
  json["rope_theta"] = theta.value_or(10000);
  CRIA_TRY_ASSIGN(json["rope_scaling"], rope_scaling(reader));
  const auto vocab_size = static_cast<uint32_t>(embedding->shape[0]);
  CRIA_TRY_ASSIGN(const auto bos, fields.whole("tokenizer.ggml.bos_token_id", 0, vocab_size - 1));
  json["bos_token_id"] = bos ? Json(*bos) : Json(nullptr);
  CRIA_TRY_ASSIGN(json["eos_token_id"], gguf_end_tokens(fields, vocab_size));
  return json;
}

Result<std::vector<uint32_t>> gguf_end_tokens(const GgufFields& fields, uint32_t vocab_size) {
  constexpr uint64_t kControl = 3;
  constexpr std::string_view kEnds[] = {"</s>",       "<|endoftext|>", "<|end_of_text|>",
                                        "<|eot_id|>", "<|eom_id|>",    "<|im_end|>",
                                        "<|end|>",    "<end_of_turn>", "<|end_of_turn|>"};
  std::vector<uint32_t> ids;
  const auto add = [&](uint64_t id) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(static_cast<uint32_t>(id));
  };
  for (const char* name : {"eos", "eot", "eom"}) {
    CRIA_TRY_ASSIGN(const auto id, fields.whole(fmt::format("tokenizer.ggml.{}_token_id", name), 0, vocab_size - 1));
    if (id) add(*id);
  }
  CRIA_TRY_ASSIGN(const auto tokens, fields.strings("tokenizer.ggml.tokens"));
  CRIA_TRY_ASSIGN(const auto types, fields.wholes("tokenizer.ggml.token_type", 0, UINT32_MAX));
  for (size_t id = 0; id < std::min({tokens.size(), types.size(), size_t{vocab_size}}); ++id) {
    if (types[id] == kControl && std::ranges::find(kEnds, tokens[id]) != std::end(kEnds)) add(id);
  }
  return ids;
}

}  // namespace cria::model
