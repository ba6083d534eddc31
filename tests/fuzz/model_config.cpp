// config.json and, behind a NUL, generation_config.json: what is accepted can be computed with.
#include <algorithm>
#include <cmath>

#include "fuzz_target.h"
#include "model/config.h"

namespace cria::fuzz {
namespace {

void check_config(const model::ModelConfig& config) {
  CRIA_CHECK(config.hidden_size > 0 && config.intermediate_size > 0 && config.num_layers > 0);
  CRIA_CHECK(config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0);
  CRIA_CHECK(config.head_dim > 0 && config.head_dim % 2 == 0);
  CRIA_CHECK(config.max_position_embeddings > 0 && std::isfinite(config.rms_norm_eps));
  CRIA_CHECK(config.sliding_window.size() == config.num_layers);
  for (const uint32_t id : config.eos_token_ids) CRIA_CHECK(id < config.vocab_size);
  for (const uint32_t length : {1U, config.max_position_embeddings}) {
    const model::RopeFrequencies rope = model::rope_frequencies(config, length);
    CRIA_CHECK(rope.inverse_frequencies.size() == config.head_dim / 2);
    CRIA_CHECK(std::ranges::all_of(rope.inverse_frequencies, [](float value) { return std::isfinite(value); }));
    CRIA_CHECK(std::isfinite(rope.attention_factor));
  }
}

}  // namespace

CRIA_FUZZ_TARGET(model_config, 4096) {
  const std::string_view config_text = take_until(input, '\0');
  const JsonLimits limits = {.max_containers = 1000};
  uint32_t vocab_size = 1000;
  if (const auto json = parse_json(config_text, "config.json", limits); json && json->is_object()) {
    const auto config = model::parse_config(*json, "config.json");
    if (is_sound(config)) {
      check_config(*config);
      vocab_size = config->vocab_size;
    }
  }
  const auto json = parse_json(input, "generation_config.json", limits);
  if (!json || !json->is_object()) return;
  const auto defaults = model::parse_generation_defaults(*json, vocab_size, "generation_config.json");
  if (!is_sound(defaults)) return;
  for (const uint32_t id : defaults->eos_token_ids) CRIA_CHECK(id < vocab_size);
  for (const auto& number : {defaults->temperature, defaults->top_p, defaults->min_p, defaults->repetition_penalty}) {
    CRIA_CHECK(!number || (std::isfinite(*number) && *number >= 0));
  }
}

}  // namespace cria::fuzz
