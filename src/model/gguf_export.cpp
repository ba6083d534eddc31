#include "model/gguf_export.h"

#include <algorithm>
#include <cmath>

namespace cria::model {
namespace {

bool is_llama(const ModelConfig& config) {
  return config.architecture == Architecture::kLlama || config.architecture == Architecture::kMistral;
}

Status describe_rope(const ModelConfig& config, const std::string& prefix, formats::GgufWriter& writer) {
  const RopeConfig& rope = config.rope;
  writer.add(prefix + "rope.dimension_count", config.head_dim);
  writer.add(prefix + "rope.freq_base", static_cast<float>(rope.theta));
  switch (rope.scaling) {
    case RopeScaling::kNone:
    case RopeScaling::kLlama3: return {};  // a tensor says it
    case RopeScaling::kDynamic:
      return fail(ErrorCode::kUnsupported, "GGUF files have no dynamic scaling of RoPE, which this model needs");
    case RopeScaling::kLinear:
      writer.add(prefix + "rope.scaling.type", "linear");
      writer.add(prefix + "rope.scaling.factor", static_cast<float>(rope.factor));
      return {};
    case RopeScaling::kYarn: break;
  }
  if (!rope.truncate) {
    return fail(ErrorCode::kUnsupported, "GGUF files have no YaRN without \"truncate\", which this model needs");
  }
  writer.add(prefix + "rope.scaling.type", "yarn");
  writer.add(prefix + "rope.scaling.factor", static_cast<float>(rope.factor));
  writer.add(prefix + "rope.scaling.original_context_length", static_cast<uint32_t>(rope.original_max_position));
  writer.add(prefix + "rope.scaling.yarn_beta_fast", static_cast<float>(rope.beta_fast));
  writer.add(prefix + "rope.scaling.yarn_beta_slow", static_cast<float>(rope.beta_slow));
  const double suggested = 0.1 * std::log(rope.factor) + 1;
  if (std::abs(rope.attention_factor - suggested) > 1e-6) {
    writer.add(prefix + "rope.scaling.attn_factor", static_cast<float>(rope.attention_factor / suggested));
  }
  return {};
}

Status describe_window(const ModelConfig& config, const std::string& prefix, formats::GgufWriter& writer) {
  const auto& windows = config.sliding_window;
  if (std::ranges::all_of(windows, [](uint32_t window) { return window == 0; })) return {};
  const bool same = std::ranges::all_of(windows, [&](uint32_t window) { return window == windows.front(); });
  if (!same || config.architecture != Architecture::kMistral) {
    return fail(ErrorCode::kUnsupported, "GGUF files of {} have no sliding windows, which this model needs",
                gguf_architecture(config));
  }
  writer.add(prefix + "attention.sliding_window", windows.front());
  return {};
}

}  // namespace

std::string_view gguf_architecture(const ModelConfig& config) {
  if (is_llama(config)) return "llama";
  return config.architecture == Architecture::kQwen2 ? "qwen2" : "qwen3";
}

uint32_t gguf_paired_rows(const ModelConfig& config, std::string_view name) {
  const bool is_query_or_key = name.find(".self_attn.q_proj.") != std::string_view::npos ||
                               name.find(".self_attn.k_proj.") != std::string_view::npos;
  return is_llama(config) && is_query_or_key ? config.head_dim : 0;
}

std::vector<float> gguf_rope_divisors(const ModelConfig& config) {
  if (config.rope.scaling != RopeScaling::kLlama3) return config.rope.divisors;
  ModelConfig plain = config;
  plain.rope.scaling = RopeScaling::kNone;
  std::vector<float> divisors = rope_frequencies(plain, 1).inverse_frequencies;
  const std::vector<float> scaled = rope_frequencies(config, 1).inverse_frequencies;
  for (size_t i = 0; i < divisors.size(); ++i) {
    divisors[i] /= scaled[i];
    if (!config.rope.divisors.empty()) divisors[i] *= config.rope.divisors[i];
  }
  return divisors;
}

Status describe_config(const ModelConfig& config, formats::GgufWriter& writer) {
  const std::string_view name = gguf_architecture(config);
  const std::string prefix = std::string(name) + ".";
  if (!is_llama(config) && (config.o_bias || config.mlp_bias || config.qkv_bias != (name == "qwen2"))) {
    return fail(ErrorCode::kUnsupported, "GGUF files of {} do not have the biases that this model has", name);
  }
  writer.add("general.architecture", name);
  writer.add(prefix + "context_length", config.max_position_embeddings);
  writer.add(prefix + "embedding_length", config.hidden_size);
  writer.add(prefix + "block_count", config.num_layers);
  writer.add(prefix + "feed_forward_length", config.intermediate_size);
  writer.add(prefix + "vocab_size", config.vocab_size);
  writer.add(prefix + "attention.head_count", config.num_heads);
  writer.add(prefix + "attention.head_count_kv", config.num_kv_heads);
  writer.add(prefix + "attention.key_length", config.head_dim);
  writer.add(prefix + "attention.value_length", config.head_dim);
  writer.add(prefix + "attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  CRIA_TRY(describe_rope(config, prefix, writer));
  return describe_window(config, prefix, writer);
}

}  // namespace cria::model
