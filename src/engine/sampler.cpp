#include "engine/sampler.h"

#include <cmath>
#include <set>

#include "kernels/sampler_reference.h"

namespace cria::engine {
namespace {

constexpr float kMaxTemperature = 100;
constexpr float kMaxRepetitionPenalty = 100;
constexpr float kMaxPenalty = 2;
constexpr float kMaxBias = 100;

/// Errors where value is NaN, above `highest`, below 0, or 0 where that is not allowed.
Status check_range(std::string_view name, float value, float highest, bool zero_allowed) {
  if (value <= highest && (value > 0 || (zero_allowed && value == 0))) return {};
  return fail(ErrorCode::kInvalidInput, "{} is {}: it must be {} and at most {}", name, value,
              zero_allowed ? "at least 0" : "above 0", highest);
}

/// Errors where value is NaN or further from 0 than `most`.
Status check_size(std::string_view name, float value, float most) {
  if (value >= -most && value <= most) return {};
  return fail(ErrorCode::kInvalidInput, "{} is {}: it must be from {} to {}", name, value, -most, most);
}

Status check_list(const std::vector<LogitBias>& biases) {
  if (biases.size() > kMaxLogitBiases) {
    return fail(ErrorCode::kInvalidInput, "logit_bias has {} tokens: at most {} are taken", with_commas(biases.size()),
                with_commas(kMaxLogitBiases));
  }
  std::set<uint32_t> tokens;
  for (const LogitBias& bias : biases) {
    CRIA_TRY(check_size(fmt::format("logit_bias of token {}", bias.token), bias.value, kMaxBias));
    if (!tokens.insert(bias.token).second) {
      return fail(ErrorCode::kInvalidInput, "logit_bias names the token {} twice", bias.token);
    }
  }
  return {};
}

}  // namespace

Status validate(const SamplingParams& params) {
  CRIA_TRY(check_range("temperature", params.temperature, kMaxTemperature, true));
  CRIA_TRY(check_range("top_p", params.top_p, 1, false));
  CRIA_TRY(check_range("min_p", params.min_p, 1, true));
  CRIA_TRY(check_range("repetition_penalty", params.repetition_penalty, kMaxRepetitionPenalty, false));
  CRIA_TRY(check_size("presence_penalty", params.presence_penalty, kMaxPenalty));
  CRIA_TRY(check_size("frequency_penalty", params.frequency_penalty, kMaxPenalty));
  return check_list(params.logit_bias);
}

Status check_biases(const SamplingParams& params, uint32_t vocab_size) {
  for (const LogitBias& bias : params.logit_bias) {
    if (bias.token < vocab_size) continue;
    return fail(ErrorCode::kInvalidInput, "logit_bias names the token {}, outside the vocabulary of {} tokens",
                bias.token, vocab_size);
  }
  return {};
}

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
}

kernels::SamplerRow sampler_row(const SamplingParams& params, uint32_t step, uint32_t slot) {
  return {.temperature = params.temperature,
          .top_k = params.top_k,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .repetition_penalty = params.repetition_penalty,
          .seed_low = static_cast<uint32_t>(params.seed),
          .seed_high = static_cast<uint32_t>(params.seed >> 32),
          .step = step,
          .slot = slot,
          .presence_penalty = params.presence_penalty,
          .frequency_penalty = params.frequency_penalty};
}

Result<uint32_t> sample(std::span<const float> logits, std::span<const uint32_t> seen, const SamplingParams& params,
                        uint32_t step) {
  CRIA_TRY(validate(params));
  if (logits.empty()) return fail(ErrorCode::kInvalidInput, "there are no logits to sample from");
  if (!seen.empty() && seen.size() != logits.size()) {
    return fail(ErrorCode::kInvalidInput, "{} token counts do not belong to {} logits", with_commas(seen.size()),
                with_commas(logits.size()));
  }
  CRIA_TRY(check_biases(params, static_cast<uint32_t>(logits.size())));
  std::vector<float> biased(logits.begin(), logits.end());
  for (const LogitBias& bias : params.logit_bias) biased[bias.token] += bias.value;
  const kernels::ReferenceDraw draw = kernels::reference_draw(biased, seen, sampler_row(params, step));
  if (draw.sampled.status == kernels::SamplerStatus::kOk) return draw.sampled.token;
  size_t at = 0;
  while (std::isfinite(logits[at])) ++at;
  return fail(ErrorCode::kNotFinite, "the logit of token {} is {}: the model did not give finite numbers",
              with_commas(at), logits[at]);
}

}  // namespace cria::engine
