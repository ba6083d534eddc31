#include "model/config.h"

#include <algorithm>
#include <array>

#include "kernels/attention.h"
#include "model/config_parts.h"

namespace cria::model {
namespace {

/// A model family, with the values that transformers takes where config.json leaves a key out.
struct Family {
  std::string_view name;
  std::string_view model_type;
  Architecture architecture;
  uint32_t kv_heads;  ///< 0: as many as there are heads
  uint32_t head_dim;  ///< 0: hidden_size / num_attention_heads
  uint32_t context;
  uint32_t window;   ///< 0: none
  bool has_special;  ///< token 1 begins a text and 2 ends it
};
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", Architecture::kLlama, 0, 0, 2048, 0, true},
    {"MistralForCausalLM", "mistral", Architecture::kMistral, 8, 0, 131072, 4096, true},
    {"Qwen2ForCausalLM", "qwen2", Architecture::kQwen2, 32, 0, 32768, 4096, false},
    {"Qwen3ForCausalLM", "qwen3", Architecture::kQwen3, 32, 128, 32768, 4096, false},
};

const Family& family_of(const ModelConfig& config) {
  return *std::ranges::find(kFamilies, config.architecture, &Family::architecture);
}

using kernels::kMaxHeadDim;

/// The field, or where the file leaves it out the family's default, or where it is null (or the default
/// is 0) `other`.
Result<uint32_t> read_or(const JsonFields& fields, std::string_view key, uint32_t high, uint32_t absent,
                         uint32_t other) {
  CRIA_TRY_ASSIGN(const auto value, fields.whole(key, 1, high));
  if (value) return static_cast<uint32_t>(*value);
  return absent == 0 || fields.contains(key) ? other : absent;
}

Status read_architecture(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  const Json* list = fields.find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    return fail(ErrorCode::kInvalidInput, "{}: \"architectures\" does not name one architecture", name);
  }
  config.architecture_name = (*list)[0].get<std::string>();
  const auto* family = std::ranges::find(kFamilies, config.architecture_name, &Family::name);
  if (family == std::end(kFamilies)) {
    return fail(ErrorCode::kUnsupported,
                "{}: the architecture {} is not supported; LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and "
                "Qwen3ForCausalLM are",
                name, shown((*list)[0]));
  }
  config.architecture = family->architecture;
  CRIA_TRY_ASSIGN(const auto type, fields.string("model_type"));
  if (type && *type != family->model_type) {
    return fail(ErrorCode::kUnsupported, "{}: \"model_type\" {} does not go with {}", name,
                shown(*fields.find("model_type")), family->name);
  }
  return {};
}

Status read_sizes(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(config.hidden_size, fields.required_whole("hidden_size", 1, kMaxSize));
  CRIA_TRY_ASSIGN(config.intermediate_size, fields.required_whole("intermediate_size", 1, kMaxSize));
  CRIA_TRY_ASSIGN(config.num_layers, fields.required_whole("num_hidden_layers", 1, kMaxLayers));
  CRIA_TRY_ASSIGN(config.num_heads, fields.required_whole("num_attention_heads", 1, kMaxHeads));
  CRIA_TRY_ASSIGN(config.vocab_size, fields.required_whole("vocab_size", 1, kMaxVocabulary));
  const Family& family = family_of(config);
  CRIA_TRY_ASSIGN(config.max_position_embeddings,
                  read_or(fields, "max_position_embeddings", kMaxContext, family.context, family.context));
  CRIA_TRY_ASSIGN(config.num_kv_heads,
                  read_or(fields, "num_key_value_heads", kMaxHeads, family.kv_heads, config.num_heads));
  CRIA_TRY_ASSIGN(config.head_dim, read_or(fields, "head_dim", kMaxHeadDim, family.head_dim, 0));
  if (config.head_dim == 0) {
    config.head_dim = config.hidden_size / config.num_heads;
    if (config.hidden_size % config.num_heads != 0) {
      return fail(ErrorCode::kInvalidInput, "{}: \"hidden_size\" {} is not a multiple of \"num_attention_heads\" {}",
                  name, config.hidden_size, config.num_heads);
    }
  }
  if (config.head_dim % 2 != 0 || config.head_dim == 0 || config.head_dim > kMaxHeadDim) {
    return fail(ErrorCode::kUnsupported, "{}: heads of {} elements are not supported (even, from 2 to {})", name,
                config.head_dim, kMaxHeadDim);
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return fail(ErrorCode::kInvalidInput,
                "{}: \"num_attention_heads\" {} is not a multiple of \"num_key_value_heads\" {}", name,
                config.num_heads, config.num_kv_heads);
  }
  CRIA_TRY_ASSIGN(const auto epsilon, fields.number("rms_norm_eps", 1e-12, 1));
  config.rms_norm_eps = static_cast<float>(epsilon.value_or(1e-6));
  CRIA_TRY_ASSIGN(const auto tied, fields.boolean("tie_word_embeddings"));
  config.tie_word_embeddings = tied.value_or(false);
  return {};
}

/// Which projections have a bias, and whether queries and keys are normalised.
Status read_biases(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(const auto attention_field, fields.boolean("attention_bias"));
  CRIA_TRY_ASSIGN(const auto mlp_field, fields.boolean("mlp_bias"));
  const bool attention = attention_field.value_or(false);
  const bool mlp = mlp_field.value_or(false);
  const bool is_llama = config.architecture == Architecture::kLlama;
  const bool is_mistral = config.architecture == Architecture::kMistral;
  const bool is_qwen2 = config.architecture == Architecture::kQwen2;
  if ((mlp && !is_llama) || (attention && is_mistral)) {
    return fail(ErrorCode::kUnsupported, "{}: the option \"{}\": true is not supported for {}", name,
                mlp ? "mlp_bias" : "attention_bias", config.architecture_name);
  }
  config.qkv_bias = attention || is_qwen2;  // Qwen2 has these and no bias of the output, whatever the file says
  config.o_bias = attention && !is_qwen2;
  config.mlp_bias = mlp;
  config.qk_norm = config.architecture == Architecture::kQwen3;
  return {};
}

/// Positions that a layer with a window sees; 0 where the model has no such layers.
Result<uint32_t> read_window_size(const JsonFields& fields, std::string_view name, const ModelConfig& config) {
  CRIA_TRY_ASSIGN(const auto use, fields.boolean("use_sliding_window"));
  CRIA_TRY_ASSIGN(const uint32_t window, read_or(fields, "sliding_window", kMaxContext, family_of(config).window, 0));
  switch (config.architecture) {
    case Architecture::kMistral: return window;
    case Architecture::kQwen2:
    case Architecture::kQwen3: return use.value_or(false) ? window : 0;
    case Architecture::kLlama: break;
  }
  if (window == 0 || window >= config.max_position_embeddings || use == false) return 0;
  return fail(ErrorCode::kUnsupported, "{}: the option \"sliding_window\": {} is not supported for {}", name, window,
              config.architecture_name);
}

/// Which layers see only a window of positions: Mistral's all; Qwen's those that layer_types names, or all
/// from max_window_layers on; Llama's none.
Status read_windows(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  constexpr uint32_t kQwenFullLayers = 28;
  CRIA_TRY_ASSIGN(const uint32_t window, read_window_size(fields, name, config));
  CRIA_TRY_ASSIGN(const auto full_layers, fields.whole("max_window_layers", 0, UINT32_MAX));
  const bool is_mistral = config.architecture == Architecture::kMistral;
  const uint64_t first = is_mistral ? 0 : full_layers.value_or(kQwenFullLayers);
  for (uint32_t i = 0; i < config.num_layers; ++i) config.sliding_window.push_back(i < first ? 0 : window);

  const Json* types = fields.find("layer_types");
  if (types == nullptr) return {};
  if (!types->is_array() || types->size() != config.num_layers) {
    return fail(ErrorCode::kInvalidInput, "{}: \"layer_types\" is not a list of {} layers", name, config.num_layers);
  }
  for (uint32_t i = 0; i < config.num_layers; ++i) {
    const Json& type = (*types)[i];
    const bool is_full = type == "full_attention";
    // Only Qwen's layers may differ from each other, and a window needs a size.
    const bool is_possible = is_full ? !is_mistral || window == 0 : type == "sliding_attention" && window != 0;
    if (!is_possible) {
      return fail(ErrorCode::kUnsupported, "{}: layer {} of type {} is not supported for {} with {}", name, i,
                  shown(type), config.architecture_name,
                  window == 0 ? "no sliding window" : fmt::format("a sliding window of {}", window));
    }
    config.sliding_window[i] = is_full ? 0 : window;
  }
  return {};
}

Result<std::vector<uint32_t>> read_token_ids(const JsonFields& fields, std::string_view key, uint32_t vocab_size,
                                             std::string_view name) {
  std::vector<uint32_t> ids;
  const Json* value = fields.find(key);
  if (value == nullptr) return ids;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    const auto number = whole_number(id);
    if (!number || *number >= vocab_size) {
      return fail(ErrorCode::kInvalidInput, "{}: \"{}\" holds {}, not a token below the vocabulary size {}", name, key,
                  shown(id), vocab_size);
    }
    ids.push_back(static_cast<uint32_t>(*number));
  }
  return ids;
}

/// The tokens that begin and end a text, by default those of the family.
Status read_special_tokens(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(config.eos_token_ids, read_token_ids(fields, "eos_token_id", config.vocab_size, name));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> bos, read_token_ids(fields, "bos_token_id", config.vocab_size, name));
  if (!bos.empty()) config.bos_token_id = bos.front();
  if (!family_of(config).has_special || config.vocab_size <= 2) return {};
  if (!fields.contains("eos_token_id")) config.eos_token_ids = {2};
  if (!fields.contains("bos_token_id")) config.bos_token_id = 1;
  return {};
}

}  // namespace

Result<ModelConfig> parse_config(const Json& json, std::string_view name) {
  if (!json.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  const JsonFields fields(json, name);
  ModelConfig config;
  CRIA_TRY(read_architecture(fields, name, config));
  CRIA_TRY(refuse_unimplemented(fields, name));
  CRIA_TRY(read_sizes(fields, name, config));
  CRIA_TRY(read_biases(fields, name, config));
  CRIA_TRY(read_windows(fields, name, config));
  CRIA_TRY(read_rope(fields, name, config));
  CRIA_TRY(read_special_tokens(fields, name, config));
  return config;
}

Result<GenerationDefaults> parse_generation_defaults(const Json& json, uint32_t vocab_size, std::string_view name) {
  if (!json.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", name);
  const JsonFields fields(json, name);
  GenerationDefaults defaults;
  const auto number = [&](std::string_view key, double low, double high, std::optional<float>& into) -> Status {
    CRIA_TRY_ASSIGN(const auto value, fields.number(key, low, high));
    if (value) into = static_cast<float>(*value);
    return {};
  };
  CRIA_TRY_ASSIGN(defaults.do_sample, fields.boolean("do_sample"));
  CRIA_TRY(number("temperature", 0, 100, defaults.temperature));
  CRIA_TRY(number("top_p", 0, 1, defaults.top_p));
  CRIA_TRY(number("min_p", 0, 1, defaults.min_p));
  CRIA_TRY(number("repetition_penalty", 1e-3, 100, defaults.repetition_penalty));
  CRIA_TRY_ASSIGN(const auto top_k, fields.whole("top_k", 0, UINT32_MAX));
  if (top_k) defaults.top_k = static_cast<uint32_t>(*top_k);
  CRIA_TRY_ASSIGN(defaults.eos_token_ids, read_token_ids(fields, "eos_token_id", vocab_size, name));
  return defaults;
}

}  // namespace cria::model
