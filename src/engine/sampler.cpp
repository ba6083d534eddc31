#include "engine/sampler.h"

#include <cmath>

#include "kernels/sampler_reference.h"

namespace cria::engine {
namespace {

constexpr float kMaxTemperature = 100;
constexpr float kMaxRepetitionPenalty = 100;

/// Errors where value is NaN, above `highest`, below 0, or 0 where that is not allowed.
Status check_range(std::string_view name, float value, float highest, bool zero_allowed) {
  if (value <= highest && (value > 0 || (zero_allowed && value == 0))) return {};
  return fail(ErrorCode::kInvalidInput, "{} is {}: it must be {} and at most {}", name, value,
              zero_allowed ? "at least 0" : "above 0", highest);
}

}  // namespace

Status validate(const SamplingParams& params) {
  CRIA_TRY(check_range("temperature", params.temperature, kMaxTemperature, true));
  CRIA_TRY(check_range("top_p", params.top_p, 1, false));
  CRIA_TRY(check_range("min_p", params.min_p, 1, true));
  return check_range("repetition_penalty", params.repetition_penalty, kMaxRepetitionPenalty, false);
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
          .slot = slot};
}

Result<uint32_t> sample(std::span<const float> logits, std::span<const uint32_t> seen_counts,
                        const SamplingParams& params, uint32_t step) {
  CRIA_TRY(validate(params));
  if (logits.empty()) return fail(ErrorCode::kInvalidInput, "there are no logits to sample from");
  if (!seen_counts.empty() && seen_counts.size() != logits.size()) {
    return fail(ErrorCode::kInvalidInput, "{} token counts do not belong to {} logits", with_commas(seen_counts.size()),
                with_commas(logits.size()));
  }
  const kernels::ReferenceDraw draw = kernels::reference_draw(logits, seen_counts, sampler_row(params, step));
  if (draw.sampled.status == kernels::SamplerStatus::kOk) return draw.sampled.token;
  size_t at = 0;
  while (std::isfinite(logits[at])) ++at;
  return fail(ErrorCode::kNotFinite, "the logit of token {} is {}: the model did not give finite numbers",
              with_commas(at), logits[at]);
}

}  // namespace cria::engine
