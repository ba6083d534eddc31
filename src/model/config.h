// What a model is: its configuration, mapped from a Hugging Face config.json of any supported family.
//
// An architecture or option that the forward pass does not implement is refused by name, never ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace cria::model {

enum class Architecture : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

enum class RopeScaling : uint8_t { kNone, kLinear, kDynamic, kLlama3, kYarn };

/// What inverse frequencies are rounded to. Never needed but to reproduce a reference that had cast its whole
/// model, these frequencies too, to the checkpoint's type: they are f32 in training.
enum class RopeRounding : uint8_t { kNone, kF16, kBF16 };

/// Rotary position embedding: base frequency and how it is stretched to longer contexts.
struct RopeConfig {
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000;
  double factor = 1;
  double original_max_position = 0;  ///< positions the model was first trained with
  double low_freq_factor = 1;        ///< llama3
  double high_freq_factor = 4;       ///< llama3
  double beta_fast = 32;             ///< yarn
  double beta_slow = 1;              ///< yarn
  double attention_factor = 1;       ///< yarn: multiplies cos and sin
  bool truncate = true;              ///< yarn: round the correction range to whole dimensions
  RopeRounding rounding = RopeRounding::kNone;
  std::vector<float> divisors;  ///< of each frequency, [head_dim / 2], before any scaling; empty for none (GGUF only)

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::string architecture_name;  ///< "LlamaForCausalLM"
  uint32_t hidden_size = 0;
  uint32_t intermediate_size = 0;
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;
  uint32_t num_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t vocab_size = 0;
  uint32_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-6F;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  std::vector<uint32_t> sliding_window;  ///< per layer: positions a query sees; 0: all before it
  RopeConfig rope;
  std::optional<uint32_t> bos_token_id;
  std::vector<uint32_t> eos_token_ids;

  [[nodiscard]] uint32_t q_size() const { return num_heads * head_dim; }
  [[nodiscard]] uint32_t kv_size() const { return num_kv_heads * head_dim; }
  bool operator==(const ModelConfig&) const = default;
};

/// Maps config.json; `name` begins every message. What a file leaves out is what transformers takes for
/// its family. Errors: kInvalidInput for values out of range, kUnsupported for architectures and options
/// that are not implemented.
Result<ModelConfig> parse_config(const Json& config, std::string_view name);

/// What generation_config.json suggests. Unset fields were not given.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<uint32_t> top_k;
  std::vector<uint32_t> eos_token_ids;
};

/// Maps generation_config.json. Errors: kInvalidInput for values out of range.
Result<GenerationDefaults> parse_generation_defaults(const Json& config, uint32_t vocab_size, std::string_view name);

/// inverse_frequencies [head_dim / 2] in f32, and the factor on cos and sin.
struct RopeFrequencies {
  std::vector<float> inverse_frequencies;
  float attention_factor = 1;
};

/// The frequencies for a sequence of `sequence_length` positions (dynamic scaling depends on it).
/// Sources: Su et al. 2021 (RoPE), Chen et al. 2023 (linear), "NTK-aware scaled RoPE" (dynamic),
/// Peng et al. 2023 (YaRN), Llama 3.1's model card (llama3).
[[nodiscard]] RopeFrequencies rope_frequencies(const ModelConfig& config, uint32_t sequence_length);

}  // namespace cria::model
