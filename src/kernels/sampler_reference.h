// The rules of sample.wgsl and argmax.wgsl on the CPU, in f64: the oracle of their tests and the
// engine's CPU sampler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampler.h"

namespace cria::kernels {

/// A gap below which f32 on the GPU may decide otherwise than f64 on the CPU. Scores are sums of a z of
/// at most some 30 and a logarithm, each with an error of a few units in the last place: 30 * 2^-23 is
/// 3.6e-6, and WGSL allows exp and log several times the half unit of a perfect rounding.
inline constexpr double kSamplerRoundingGap = 2e-5;

/// A draw, and how close it was to another outcome.
struct ReferenceDraw {
  SampledToken sampled;
  /// The closest decision of all that were taken: a gap between logits (relative), scores, or
  /// probabilities, or between the log-probabilities around min_p. Below kSamplerRoundingGap the GPU
  /// may draw another token. Infinite where every comparison was exact.
  double margin = 0;
};

/// Samples logits [vocab_size] as row.* says; row.slot, logits_row and token_index are not used.
/// seen [vocab_size] tells of each token's occurrences, as for Sampler; empty means that none has been seen.
[[nodiscard]] ReferenceDraw reference_draw(std::span<const float> logits, std::span<const uint32_t> seen,
                                           const SamplerRow& row);

/// The distribution that reference_draw draws from: probabilities f64 [vocab_size], 0 for what is filtered
/// out; all 0 where a logit is not finite.
[[nodiscard]] std::vector<double> reference_distribution(std::span<const float> logits, std::span<const uint32_t> seen,
                                                         const SamplerRow& row);

/// The random bits of a token in a draw, as in sample.wgsl.
[[nodiscard]] uint32_t random_bits(const SamplerRow& row, uint32_t token);

}  // namespace cria::kernels
