// The frequencies of rotary position embeddings, for every kind of scaling to longer contexts.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/config.h"
#include "quant/float16.h"

namespace cria::model {
namespace {

/// theta^(-2i / head_dim) for i < head_dim / 2.
std::vector<double> plain_frequencies(double theta, uint32_t head_dim) {
  std::vector<double> frequencies(head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = 1.0 / std::pow(theta, static_cast<double>(2 * i) / head_dim);
  }
  return frequencies;
}

/// Long wavelengths are divided by the factor, short ones kept, and those between blended.
double llama3_frequency(double frequency, const RopeConfig& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < rope.original_max_position / rope.high_freq_factor) return frequency;
  if (wavelength > rope.original_max_position / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth =
      (rope.original_max_position / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

/// The dimension whose wave turns `rotations` times over the original context.
double yarn_dimension(double rotations, uint32_t head_dim, const RopeConfig& rope) {
  return head_dim * std::log(rope.original_max_position / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

void scale_yarn(std::vector<double>& frequencies, uint32_t head_dim, const RopeConfig& rope) {
  double low = yarn_dimension(rope.beta_fast, head_dim, rope);
  double high = yarn_dimension(rope.beta_slow, head_dim, rope);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim) - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / rope.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

double rounded(float frequency, RopeRounding rounding) {
  if (rounding == RopeRounding::kF16) return quant::f16_to_f32(quant::f32_to_f16(frequency));
  return quant::bf16_to_f32(quant::f32_to_bf16(frequency));
}

}  // namespace

RopeFrequencies rope_frequencies(const ModelConfig& config, uint32_t sequence_length) {
  const RopeConfig& rope = config.rope;
  double theta = rope.theta;
  if (rope.scaling == RopeScaling::kDynamic && sequence_length > rope.original_max_position && config.head_dim > 2) {
    const double stretch = rope.factor * sequence_length / rope.original_max_position - (rope.factor - 1);
    theta *= std::pow(stretch, static_cast<double>(config.head_dim) / (config.head_dim - 2));
  }
  std::vector<double> frequencies = plain_frequencies(theta, config.head_dim);
  for (size_t i = 0; i < rope.divisors.size(); ++i) frequencies[i] /= rope.divisors[i];
  if (rope.scaling == RopeScaling::kLinear) {
    for (double& frequency : frequencies) frequency /= rope.factor;
  } else if (rope.scaling == RopeScaling::kLlama3) {
    for (double& frequency : frequencies) frequency = llama3_frequency(frequency, rope);
  } else if (rope.scaling == RopeScaling::kYarn) {
    scale_yarn(frequencies, config.head_dim, rope);
  }
  if (rope.rounding != RopeRounding::kNone) {
    for (double& frequency : frequencies) frequency = rounded(static_cast<float>(frequency), rope.rounding);
  }
  const double attention_factor = rope.scaling == RopeScaling::kYarn ? rope.attention_factor : 1;
  return {.inverse_frequencies = {frequencies.begin(), frequencies.end()},
          .attention_factor = static_cast<float>(attention_factor)};
}

}  // namespace cria::model
