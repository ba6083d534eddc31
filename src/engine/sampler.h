// How a user asks for tokens to be drawn, and the CPU sampler that follows the same rules as the GPU's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "kernels/sampler.h"

namespace cria::engine {

/// A value that is added to a token's logit.
struct LogitBias {
  uint32_t token = 0;
  float value = 0;  ///< -100 to 100
};

/// The settings of sampling. The rules apply in this order: logit biases, penalties, temperature, top-k, top-p, min-p.
struct SamplingParams {
  float temperature = 0.7F;                ///< 0 to 100; 0 takes the likeliest token
  uint32_t top_k = 40;                     ///< 0 keeps all
  float top_p = 0.95F;                     ///< above 0, at most 1; 1 keeps all
  float min_p = 0;                         ///< 0 to 1; 0 keeps all
  float repetition_penalty = 1.1F;         ///< above 0, at most 100; 1 leaves repetition alone
  float presence_penalty = 0;              ///< -2 to 2; taken off the logits of tokens that were generated
  float frequency_penalty = 0;             ///< -2 to 2; taken off as often as they were generated
  std::vector<LogitBias> logit_bias = {};  ///< at most kMaxLogitBiases, each of another token
  uint64_t seed = 0;
};
inline constexpr size_t kMaxLogitBiases = 1024;

/// Errors (kInvalidInput): a value outside its range; the sentence names it and the range.
Status validate(const SamplingParams& params);
/// Errors (kInvalidInput): a bias of a token that the vocabulary does not have.
Status check_biases(const SamplingParams& params, uint32_t vocab_size);

/// Whether what was drawn before changes what is drawn next.
[[nodiscard]] bool has_penalties(const SamplingParams& params);

/// The GPU sampler's form of the settings, for the sequence in `slot` and its draw number `step`.
[[nodiscard]] kernels::SamplerRow sampler_row(const SamplingParams& params, uint32_t step, uint32_t slot = 0);

/// Draws a token on the CPU. seen [vocab_size] tells of each token how often it was generated, with
/// kernels::kInPrompt where the prompt holds it; it may be empty where no token has been seen.
/// Errors: kInvalidInput for settings out of range, no logits, or `seen` of another size; kNotFinite where
/// a logit is NaN or infinite.
Result<uint32_t> sample(std::span<const float> logits, std::span<const uint32_t> seen, const SamplingParams& params,
                        uint32_t step);

}  // namespace cria::engine
