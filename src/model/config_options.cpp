// Options that Cria does not implement: refused by name wherever their value would change the result.
#include <algorithm>

#include "model/config_parts.h"

namespace cria::model {
namespace {

/// The value at which an option changes nothing.
enum class Neutral : uint8_t {
  kOff,      ///< false, 0 or empty (or null, as for all)
  kOne,      ///< 1
  kTrue,     ///< true
  kAllOnes,  ///< empty, or a list of ones
};

struct Option {
  std::string_view key;
  Neutral neutral;
};

constexpr Option kOptions[] = {
    // Weights in other encodings.
    {"quantization_config", Neutral::kOff},
    {"compression_config", Neutral::kOff},
    // Mixtures of experts, more heads, other inputs.
    {"num_experts", Neutral::kOff},
    {"num_local_experts", Neutral::kOff},
    {"n_routed_experts", Neutral::kOff},
    {"num_nextn_predict_layers", Neutral::kOff},
    {"text_config", Neutral::kOff},
    {"vision_config", Neutral::kOff},
    {"audio_config", Neutral::kOff},
    {"is_encoder_decoder", Neutral::kOff},
    {"add_cross_attention", Neutral::kOff},
    {"cross_attention_layers", Neutral::kOff},
    // Other attention.
    {"attention_chunk_size", Neutral::kOff},
    {"attention_multiplier", Neutral::kOff},
    {"attention_sinks", Neutral::kOff},
    {"attn_logit_softcapping", Neutral::kOff},
    {"clip_qkv", Neutral::kOff},
    {"kv_lora_rank", Neutral::kOff},
    {"q_lora_rank", Neutral::kOff},
    {"qk_layernorm", Neutral::kOff},
    {"query_pre_attn_scalar", Neutral::kOff},
    {"use_bidirectional_attention", Neutral::kOff},
    {"use_logn_attn", Neutral::kOff},
    {"use_qk_norm", Neutral::kOff},
    {"is_causal", Neutral::kTrue},
    // Other positions.
    {"alibi", Neutral::kOff},
    {"no_rope_layer_interval", Neutral::kOff},
    {"no_rope_layers", Neutral::kAllOnes},
    {"partial_rotary_factor", Neutral::kOne},
    {"rope_interleaved", Neutral::kOff},
    {"rope_local_base_freq", Neutral::kOff},
    {"rope_ratio", Neutral::kOne},
    {"rope_traditional", Neutral::kOff},
    {"rotary_pct", Neutral::kOne},
    {"use_dynamic_ntk", Neutral::kOff},
    // Other residuals, scales, activations and biases.
    {"bias", Neutral::kOff},
    {"dim_model_base", Neutral::kOff},
    {"embedding_multiplier", Neutral::kOne},
    {"final_logit_softcapping", Neutral::kOff},
    {"lm_head_bias", Neutral::kOff},
    {"lm_head_multiplier", Neutral::kOne},
    {"logit_scale", Neutral::kOne},
    {"logits_scaling", Neutral::kOne},
    {"parallel_attn", Neutral::kOff},
    {"residual_multiplier", Neutral::kOne},
    {"scale_depth", Neutral::kOff},
    {"scale_emb", Neutral::kOne},
    {"swiglu_limit", Neutral::kOff},
    {"use_bias", Neutral::kOff},
    {"use_parallel_residual", Neutral::kOff},
};

bool is_neutral(const Json& value, Neutral neutral) {
  switch (neutral) {
    case Neutral::kOff:
      return value == false || value == 0 || ((value.is_array() || value.is_object()) && value.empty());
    case Neutral::kOne: return value == 1;
    case Neutral::kTrue: return value == true;
    case Neutral::kAllOnes:
      return value.is_array() && std::ranges::all_of(value, [](const Json& element) { return element == 1; });
  }
  return false;
}

}  // namespace

Status refuse_unimplemented(const JsonFields& fields, std::string_view name) {
  for (const Option& option : kOptions) {
    const Json* value = fields.find(option.key);
    if (value == nullptr || is_neutral(*value, option.neutral)) continue;
    return fail(ErrorCode::kUnsupported, "{}: the option \"{}\": {} is not supported", name, option.key, shown(*value));
  }
  for (const std::string_view key : {"hidden_act", "hidden_activation"}) {
    CRIA_TRY_ASSIGN(const auto activation, fields.string(key));
    if (!activation || *activation == "silu" || *activation == "swish") continue;
    return fail(ErrorCode::kUnsupported, "{}: the activation {} is not supported, only silu is", name,
                shown(*fields.find(key)));
  }
  return {};
}

}  // namespace cria::model
