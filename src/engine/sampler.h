// How a user asks for tokens to be drawn, and the CPU sampler that follows the same rules as the GPU's.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"
#include "kernels/sampler.h"

namespace cria::engine {

/// The settings of sampling; the rules apply in the order of the fields (repetition penalty first).
struct SamplingParams {
  float temperature = 0.7F;         ///< 0 to 100; 0 takes the likeliest token
  uint32_t top_k = 40;              ///< 0 keeps all
  float top_p = 0.95F;              ///< above 0, at most 1; 1 keeps all
  float min_p = 0;                  ///< 0 to 1; 0 keeps all
  float repetition_penalty = 1.1F;  ///< above 0, at most 100; 1 leaves repetition alone
  uint64_t seed = 0;
};

/// Errors (kInvalidInput): a value outside its range; the sentence names it and the range.
Status validate(const SamplingParams& params);

/// The GPU sampler's form of the settings, for the sequence in `slot` and its draw number `step`.
[[nodiscard]] kernels::SamplerRow sampler_row(const SamplingParams& params, uint32_t step, uint32_t slot = 0);

/// Draws a token on the CPU. seen_counts [vocab_size] tells how often each token occurs in the sequence so
/// far; it may be empty where no token has been seen.
/// Errors: kInvalidInput for settings out of range, no logits, or counts of another size; kNotFinite where
/// a logit is NaN or infinite.
Result<uint32_t> sample(std::span<const float> logits, std::span<const uint32_t> seen_counts,
                        const SamplingParams& params, uint32_t step);

}  // namespace cria::engine
