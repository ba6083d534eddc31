#include "engine/defaults.h"

#include <random>

namespace cria::engine {

SamplingParams resolve_sampling(const SamplingChoice& choice, const model::GenerationDefaults& defaults) {
  SamplingParams params;
  params.temperature = choice.temperature.value_or(defaults.temperature.value_or(params.temperature));
  if (!choice.temperature && defaults.do_sample == false) params.temperature = 0;
  params.top_k = choice.top_k.value_or(defaults.top_k.value_or(params.top_k));
  params.top_p = choice.top_p.value_or(defaults.top_p.value_or(params.top_p));
  params.min_p = choice.min_p.value_or(defaults.min_p.value_or(params.min_p));
  params.repetition_penalty =
      choice.repetition_penalty.value_or(defaults.repetition_penalty.value_or(params.repetition_penalty));
  params.presence_penalty = choice.presence_penalty.value_or(0);
  params.frequency_penalty = choice.frequency_penalty.value_or(0);
  params.logit_bias = choice.logit_bias;
  params.seed = choice.seed ? *choice.seed : std::random_device{}();
  return params;
}

std::vector<uint32_t> stop_tokens(const model::ModelConfig& config, const model::GenerationDefaults& defaults) {
  return defaults.eos_token_ids.empty() ? config.eos_token_ids : defaults.eos_token_ids;
}

}  // namespace cria::engine
