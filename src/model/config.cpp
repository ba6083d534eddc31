#include "model/config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/json_fields.h"

namespace cria::model {
namespace {

struct Family {
  std::string_view name;
  Architecture architecture;
};
constexpr Family kFamilies[] = {{"LlamaForCausalLM", Architecture::kLlama},
                                {"MistralForCausalLM", Architecture::kMistral},
                                {"Qwen2ForCausalLM", Architecture::kQwen2},
                                {"Qwen3ForCausalLM", Architecture::kQwen3}};

constexpr uint32_t kMaxSize = 1U << 20;
constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxHeads = 4096;
constexpr uint32_t kMaxVocabulary = 1U << 22;
constexpr uint32_t kMaxContext = 1U << 24;
constexpr uint32_t kMaxHeadDim = 512;

Status read_architecture(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  const Json* list = fields.find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    return fail(ErrorCode::kInvalidInput, "{}: \"architectures\" does not name one architecture", name);
  }
  config.architecture_name = (*list)[0].get<std::string>();
  for (const Family& family : kFamilies) {
    if (family.name != config.architecture_name) continue;
    config.architecture = family.architecture;
    return {};
  }
  return fail(ErrorCode::kUnsupported,
              "{}: the architecture {} is not supported; LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and "
              "Qwen3ForCausalLM are",
              name, shown((*list)[0]));
}

/// A key of related model families that changes the mathematics, with the value at which it does not.
struct NeutralKey {
  std::string_view key;
  Json neutral;
};

const std::vector<NeutralKey>& neutral_keys() {
  static const std::vector<NeutralKey> keys = {
      {"quantization_config", nullptr},
      {"attn_logit_softcapping", nullptr},
      {"final_logit_softcapping", nullptr},
      {"num_local_experts", nullptr},
      {"num_experts", nullptr},
      {"n_routed_experts", nullptr},
      {"logit_scale", 1.0},
      {"embedding_multiplier", 1.0},
      {"residual_multiplier", 1.0},
      {"attention_multiplier", nullptr},
      {"logits_scaling", 1.0},
      {"query_pre_attn_scalar", nullptr},
      {"clip_qkv", nullptr},
      {"no_rope_layers", nullptr},
      {"attention_chunk_size", nullptr},
      {"partial_rotary_factor", 1.0},
      {"rotary_pct", 1.0},
      {"rope_interleaved", false},
      {"parallel_attn", false},
      {"use_parallel_residual", false},
      {"scale_depth", nullptr},
      {"scale_emb", nullptr},
      {"dim_model_base", nullptr},
      {"alibi", false},
      {"is_causal", true},
      {"add_cross_attention", false},
      {"is_encoder_decoder", false},
      {"num_nextn_predict_layers", nullptr},
      {"q_lora_rank", nullptr},
      {"kv_lora_rank", nullptr},
      {"use_qk_norm", false},
      {"attention_sinks", nullptr},
      {"swiglu_limit", nullptr},
  };
  return keys;
}

Status refuse_unimplemented(const JsonFields& fields, std::string_view name) {
  for (const NeutralKey& entry : neutral_keys()) {
    const Json* value = fields.find(entry.key);
    if (value == nullptr || *value == entry.neutral) continue;
    return fail(ErrorCode::kUnsupported, "{}: the option \"{}\": {} is not supported", name, entry.key, shown(*value));
  }
  CRIA_TRY_ASSIGN(const auto activation, fields.string("hidden_act"));
  if (activation && *activation != "silu" && *activation != "swish") {
    return fail(ErrorCode::kUnsupported, "{}: the activation \"{}\" is not supported, only silu", name, *activation);
  }
  return {};
}

Status read_sizes(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(config.hidden_size, fields.required_whole("hidden_size", 1, kMaxSize));
  CRIA_TRY_ASSIGN(config.intermediate_size, fields.required_whole("intermediate_size", 1, kMaxSize));
  CRIA_TRY_ASSIGN(config.num_layers, fields.required_whole("num_hidden_layers", 1, kMaxLayers));
  CRIA_TRY_ASSIGN(config.num_heads, fields.required_whole("num_attention_heads", 1, kMaxHeads));
  CRIA_TRY_ASSIGN(config.vocab_size, fields.required_whole("vocab_size", 1, kMaxVocabulary));
  CRIA_TRY_ASSIGN(const auto context, fields.whole("max_position_embeddings", 1, kMaxContext));
  config.max_position_embeddings = static_cast<uint32_t>(context.value_or(2048));
  CRIA_TRY_ASSIGN(const auto kv_heads, fields.whole("num_key_value_heads", 1, kMaxHeads));
  config.num_kv_heads = static_cast<uint32_t>(kv_heads.value_or(config.num_heads));
  CRIA_TRY_ASSIGN(const auto head_dim, fields.whole("head_dim", 1, kMaxHeadDim));
  if (!head_dim && config.hidden_size % config.num_heads != 0) {
    return fail(ErrorCode::kInvalidInput, "{}: \"hidden_size\" {} is not a multiple of \"num_attention_heads\" {}",
                name, config.hidden_size, config.num_heads);
  }
  config.head_dim = static_cast<uint32_t>(head_dim.value_or(config.hidden_size / config.num_heads));
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

Status read_biases(const JsonFields& fields, ModelConfig& config) {
  CRIA_TRY_ASSIGN(const auto attention, fields.boolean("attention_bias"));
  CRIA_TRY_ASSIGN(const auto mlp, fields.boolean("mlp_bias"));
  const Architecture architecture = config.architecture;
  config.qk_norm = architecture == Architecture::kQwen3;
  if (architecture == Architecture::kQwen2) {
    config.qkv_bias = true;
  } else if (architecture != Architecture::kMistral) {
    config.qkv_bias = config.o_bias = attention.value_or(false);
  }
  config.mlp_bias = architecture == Architecture::kLlama && mlp.value_or(false);
  return {};
}

/// Which layers see only a window of positions: Mistral all of them; Qwen those that layer_types or
/// max_window_layers name, where use_sliding_window is set; Llama none.
Status read_window(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  CRIA_TRY_ASSIGN(const auto window, fields.whole("sliding_window", 1, kMaxContext));
  CRIA_TRY_ASSIGN(const auto use, fields.boolean("use_sliding_window"));
  CRIA_TRY_ASSIGN(const auto full_layers, fields.whole("max_window_layers", 0, kMaxLayers));
  const bool is_qwen = config.architecture == Architecture::kQwen2 || config.architecture == Architecture::kQwen3;
  const bool active = window && (config.architecture == Architecture::kMistral || (is_qwen && use.value_or(false)));
  const auto size = static_cast<uint32_t>(active ? *window : 0);
  config.sliding_window.assign(config.num_layers, size);
  const Json* types = fields.find("layer_types");
  if (types == nullptr) {
    const auto full = static_cast<uint32_t>(is_qwen ? full_layers.value_or(28) : 0);
    std::fill_n(config.sliding_window.begin(), std::min(full, config.num_layers), 0U);
    return {};
  }
  if (!types->is_array() || types->size() != config.num_layers) {
    return fail(ErrorCode::kInvalidInput, "{}: \"layer_types\" is not a list of {} layers", name, config.num_layers);
  }
  for (uint32_t layer = 0; layer < config.num_layers; ++layer) {
    const Json& type = (*types)[layer];
    if (type == "full_attention") {
      config.sliding_window[layer] = 0;
    } else if (type != "sliding_attention" || size == 0) {
      return fail(ErrorCode::kUnsupported, "{}: layer {} is of type {}, which is not supported{}", name, layer,
                  shown(type), type == "sliding_attention" ? " without a sliding window" : "");
    }
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
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocab_size) {
      return fail(ErrorCode::kInvalidInput, "{}: \"{}\" holds {}, not a token below the vocabulary size {}", name, key,
                  shown(id), vocab_size);
    }
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

/// yarn's factor on cos and sin: given, or from mscale and mscale_all_dim, or from the factor alone.
Status read_yarn(const JsonFields& fields, RopeConfig& rope) {
  CRIA_TRY_ASSIGN(const auto attention_factor, fields.number("attention_factor", 0, 1000));
  CRIA_TRY_ASSIGN(const auto mscale, fields.number("mscale", 0, 1000));
  CRIA_TRY_ASSIGN(const auto mscale_all, fields.number("mscale_all_dim", 0, 1000));
  CRIA_TRY_ASSIGN(const auto beta_fast, fields.number("beta_fast", 1e-6, 1e6));
  CRIA_TRY_ASSIGN(const auto beta_slow, fields.number("beta_slow", 1e-6, 1e6));
  CRIA_TRY_ASSIGN(const auto truncate, fields.boolean("truncate"));
  rope.beta_fast = beta_fast.value_or(32);
  rope.beta_slow = beta_slow.value_or(1);
  rope.truncate = truncate.value_or(true);
  const auto scale = [&](double m) { return rope.factor <= 1 ? 1.0 : 0.1 * m * std::log(rope.factor) + 1.0; };
  if (attention_factor) {
    rope.attention_factor = *attention_factor;
  } else if (mscale.value_or(0) != 0 && mscale_all.value_or(0) != 0) {
    rope.attention_factor = scale(*mscale) / scale(*mscale_all);
  } else {
    rope.attention_factor = scale(1);
  }
  return {};
}

Status read_scaling(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  CRIA_TRY_ASSIGN(const auto new_key, fields.string("rope_type"));
  CRIA_TRY_ASSIGN(const auto old_key, fields.string("type"));
  const std::string type = new_key ? *new_key : old_key.value_or("default");
  CRIA_TRY_ASSIGN(const auto factor, fields.number("factor", 1, 1e6));
  rope.factor = factor.value_or(1);
  CRIA_TRY_ASSIGN(const auto original, fields.whole("original_max_position_embeddings", 1, kMaxContext));
  rope.original_max_position = static_cast<double>(original.value_or(config.max_position_embeddings));
  if (type == "default") return {};
  if (!factor) return fail(ErrorCode::kInvalidInput, "{}: RoPE scaling \"{}\" has no \"factor\"", name, type);
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "dynamic") {
    rope.scaling = RopeScaling::kDynamic;
    rope.original_max_position = config.max_position_embeddings;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    CRIA_TRY_ASSIGN(const auto low, fields.number("low_freq_factor", 1e-6, 1e6));
    CRIA_TRY_ASSIGN(const auto high, fields.number("high_freq_factor", 1e-6, 1e6));
    if (!low || !high || *high <= *low) {
      return fail(ErrorCode::kInvalidInput, "{}: \"high_freq_factor\" is not above \"low_freq_factor\"", name);
    }
    rope.low_freq_factor = *low;
    rope.high_freq_factor = *high;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    CRIA_TRY(read_yarn(fields, rope));
  } else {
    return fail(ErrorCode::kUnsupported,
                "{}: RoPE scaling \"{}\" is not supported; linear, dynamic, llama3 and yarn are", name, type);
  }
  return {};
}

/// Older files have rope_theta and rope_scaling, newer ones rope_parameters.
Status read_rope(const JsonFields& fields, std::string_view name, ModelConfig& config) {
  constexpr double kMaxTheta = 1e12;
  CRIA_TRY_ASSIGN(const auto theta, fields.number("rope_theta", 1, kMaxTheta));
  config.rope.theta = theta.value_or(10000);
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    const Json* parameters = fields.find(key);
    if (parameters == nullptr) continue;
    if (!parameters->is_object()) return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is not an object", name, key);
    const JsonFields inner(*parameters, name);
    CRIA_TRY(refuse_unimplemented(inner, name));
    CRIA_TRY_ASSIGN(const auto inner_theta, inner.number("rope_theta", 1, kMaxTheta));
    if (inner_theta) config.rope.theta = *inner_theta;
    CRIA_TRY(read_scaling(inner, name, config));
  }
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
  CRIA_TRY(read_biases(fields, config));
  CRIA_TRY(read_window(fields, name, config));
  CRIA_TRY(read_rope(fields, name, config));
  CRIA_TRY_ASSIGN(config.eos_token_ids, read_token_ids(fields, "eos_token_id", config.vocab_size, name));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> bos, read_token_ids(fields, "bos_token_id", config.vocab_size, name));
  if (!bos.empty()) config.bos_token_id = bos.front();
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
