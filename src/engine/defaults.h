// Sampling settings: what the caller said, else the model's generation_config.json, else Cria's own.
#pragma once

#include <optional>

#include "engine/sampler.h"
#include "model/config.h"

namespace cria::engine {

/// What a caller may set; an unset field falls back.
struct SamplingChoice {
  std::optional<float> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<uint32_t> top_k;
  std::vector<LogitBias> logit_bias = {};
  std::optional<uint64_t> seed;  ///< unset: a new one from the system's random source
};

[[nodiscard]] SamplingParams resolve_sampling(const SamplingChoice& choice, const model::GenerationDefaults& defaults);

/// Tokens that end a text: the generation defaults' where given, else the configuration's.
[[nodiscard]] std::vector<uint32_t> stop_tokens(const model::ModelConfig& config,
                                                const model::GenerationDefaults& defaults);

}  // namespace cria::engine
