#include "quant/blocks.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "quant/float16.h"

namespace cria::quant {
namespace {

constexpr size_t kCandidates = 9;
constexpr size_t kLanes = 12;            // candidates are tried side by side, in vectors of four
constexpr uint16_t kNotStored = 0x7E00;  // NaN

float as_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

float extreme_of(std::span<const float> values) {
  float extreme = 0;
  for (const float value : values) {
    if (std::abs(value) > std::abs(extreme)) extreme = value;
  }
  return extreme;
}

/// The whole number nearest to a value of less than 2^22, ties to even: adding 1.5 * 2^23 leaves no bits for fractions.
/// (std::nearbyint is a call where processors may be old, and this is most of the work of quantising.)
float nearest(float value) {
  constexpr float kNoFractions = 0x1.8p23F;
  return (value + kNoFractions) - kNoFractions;
}

float quantized(float value, float scale, float low, float high) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  return nearest(std::clamp(value * inverse, low, high));
}

float squared_error(std::span<const float> values, float scale) {
  float error = 0;
  for (const float value : values) {
    const float difference = value - scale * quantized(value, scale, -8, 7);
    error += difference * difference;
  }
  return error;
}

/// Scales that are tried, and the squared error of each.
struct Candidates {
  std::array<float, kLanes> scales{}, errors{};
};

/// The same sums as squared_error makes, all at once. Lanes beyond the candidates have the scale 0.
Candidates candidates_of(std::span<const float> values, float extreme) {
  Candidates all;
  std::array<float, kLanes> inverses{};
  for (size_t k = 0; k < kCandidates; ++k) {
    all.scales[k] = as_f16(extreme / -(7.0F + 0.25F * static_cast<float>(k)));
    inverses[k] = all.scales[k] == 0 ? 0 : 1 / all.scales[k];
  }
  for (const float value : values) {
    for (size_t k = 0; k < kLanes; ++k) {
      const float integer = nearest(std::clamp(value * inverses[k], -8.0F, 7.0F));
      const float difference = value - all.scales[k] * integer;
      all.errors[k] += difference * difference;
    }
  }
  return all;
}

/// The least-squares scale for the integers that `scale` gives.
float refined_scale(std::span<const float> values, float scale) {
  float products = 0;
  float squares = 0;
  for (const float value : values) {
    const float integer = quantized(value, scale, -8, 7);
    products += value * integer;
    squares += integer * integer;
  }
  return squares == 0 ? scale : as_f16(products / squares);
}

void store(std::span<const float> values, float scale, float low, float high, std::span<int8_t> integers) {
  for (size_t i = 0; i < values.size(); ++i) {
    integers[i] = static_cast<int8_t>(quantized(values[i], scale, low, high));
  }
}

bool is_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

/// What a block gets that cannot be stored.
uint16_t store_nothing(std::span<int8_t> integers) {
  std::fill(integers.begin(), integers.end(), int8_t{0});
  return kNotStored;
}

}  // namespace

uint16_t encode_int8_block(std::span<const float> values, std::span<int8_t> integers) {
  const float scale = as_f16(std::abs(extreme_of(values)) / 127);
  if (!is_finite(values) || !std::isfinite(scale)) return store_nothing(integers);
  store(values, scale, -127, 127, integers);
  return f32_to_f16(scale);
}

uint16_t encode_int4_block(std::span<const float> values, std::span<int8_t> integers) {
  const float extreme = extreme_of(values);
  const Candidates candidates = candidates_of(values, extreme);
  float scale = 0;
  float error = INFINITY;
  for (size_t k = 0; k < kCandidates; ++k) {
    if (candidates.errors[k] < error) {
      error = candidates.errors[k];
      scale = candidates.scales[k];
    }
  }
  if (!is_finite(values) || !std::isfinite(error)) return store_nothing(integers);
  const float refined = refined_scale(values, scale);
  if (squared_error(values, refined) < error) scale = refined;
  store(values, scale, -8, 7, integers);
  return f32_to_f16(scale);
}

void pack_int4_unit(std::span<const int8_t, kUnitColumns> integers, std::span<uint8_t, 16> bytes) {
  for (size_t j = 0; j < bytes.size(); ++j) {
    bytes[j] = static_cast<uint8_t>((integers[j] + 8) | ((integers[j + 16] + 8) << 4));
  }
}

void unpack_int4_unit(std::span<const uint8_t, 16> bytes, std::span<int8_t, kUnitColumns> integers) {
  for (size_t j = 0; j < bytes.size(); ++j) {
    integers[j] = static_cast<int8_t>((bytes[j] & 15) - 8);
    integers[j + 16] = static_cast<int8_t>((bytes[j] >> 4) - 8);
  }
}

}  // namespace cria::quant
