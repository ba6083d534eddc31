#include "quant/blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

#include "quant/float16.h"

namespace cria::quant {
namespace {

constexpr size_t kCandidates = 9;
constexpr size_t kLargestBlock = 128;
constexpr float kNotStored = std::numeric_limits<float>::quiet_NaN();

/// Lane by lane, the element that is farthest from 0, or NaN where one is not finite.
CRIA_INLINE void find_extremes(const Lanes* values, size_t size, Lanes& extremes) {
  const Lanes zero{};
  Lanes farthest{};
  Lanes trouble{};  // NaN where an element is NaN or infinite, else 0
  fill(extremes, 0);
  for (size_t i = 0; i < size; ++i) {
    const Lanes value = values[i];
    Lanes distance;
    select_less(value, zero, zero - value, value, distance);
    select_less(farthest, distance, value, extremes, extremes);
    select_less(farthest, distance, distance, farthest, farthest);
    trouble += value * zero;
  }
  extremes += trouble;
}

/// integer = value * inverse of the scale, in a range.
CRIA_INLINE void quantise(const Lanes& value, const Lanes& inverse, const Lanes& low, const Lanes& high, Lanes& out) {
  out = value * inverse;
  clamp(out, low, high);
  round_to_whole(out);
}

/// The range of four bits.
struct Range {
  Range() {
    fill(low, -8);
    fill(high, 7);
  }
  Lanes low, high;
};

/// The squared error that a scale makes of a block.
CRIA_INLINE void find_error(const Lanes* values, size_t size, const Lanes& scale, const Range& range, Lanes& error) {
  Lanes inverse = scale;
  invert(inverse);
  Lanes sum{};
  for (size_t i = 0; i < size; ++i) {
    const Lanes value = values[i];
    Lanes integer;
    quantise(value, inverse, range.low, range.high, integer);
    const Lanes difference = value - scale * integer;
    sum += difference * difference;
  }
  error = sum;
}

/// The least-squares scale for the integers that `scale` gives, or that scale where all are 0.
CRIA_INLINE void refine(const Lanes* values, size_t size, const Lanes& scale, const Range& range, Lanes& refined) {
  Lanes inverse = scale;
  invert(inverse);
  Lanes products{};
  Lanes squares{};
  for (size_t i = 0; i < size; ++i) {
    const Lanes value = values[i];
    Lanes integer;
    quantise(value, inverse, range.low, range.high, integer);
    products += value * integer;
    squares += integer * integer;
  }
  const Lanes zero{};
  select_less(zero, squares, products / squares, scale, refined);
  round_to_f16(refined);
}

}  // namespace

CRIA_PROCESSOR_CLONES void int8_scales(const Lanes* values, size_t size, Lanes& scales) {
  const Lanes zero{};
  Lanes extremes;
  find_extremes(values, size, extremes);
  Lanes steps;
  fill(steps, 127);
  select_less(extremes, zero, zero - extremes, extremes, scales);
  scales = scales / steps;
  round_to_f16(scales);
}

CRIA_PROCESSOR_CLONES void int4_scales(const Lanes* values, size_t size, Lanes& scales) {
  const Range range;
  Lanes extremes;
  find_extremes(values, size, extremes);
  Lanes least;
  fill(least, std::numeric_limits<float>::infinity());
  fill(scales, kNotStored);  // unless a candidate has a finite error
  for (size_t k = 0; k < kCandidates; ++k) {
    Lanes steps;
    fill(steps, -(7.0F + 0.25F * static_cast<float>(k)));
    Lanes scale = extremes / steps;
    round_to_f16(scale);
    Lanes error;
    find_error(values, size, scale, range, error);
    select_less(error, least, scale, scales, scales);
    select_less(error, least, error, least, least);
  }
  Lanes refined;
  Lanes error;
  refine(values, size, scales, range, refined);
  find_error(values, size, refined, range, error);
  select_less(error, least, refined, scales, scales);
}

namespace {

/// Quantises one block, as the first of eight.
uint16_t encode_block(std::span<const float> values, std::span<int8_t> integers,
                      void (*find_scales)(const Lanes*, size_t, Lanes&), float low, float high) {
  CRIA_CHECK(values.size() <= kLargestBlock);
  Lanes lanes[kLargestBlock] = {};
  for (size_t i = 0; i < values.size(); ++i) lanes[i][0] = values[i];
  Lanes scales;
  find_scales(lanes, values.size(), scales);
  const float scale = scales[0];
  if (!std::isfinite(scale)) {
    std::ranges::fill(integers, int8_t{0});
    return f32_to_f16(kNotStored);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const float quotient = scale == 0 ? 0 : values[i] / scale;
    integers[i] = static_cast<int8_t>(std::nearbyint(std::clamp(quotient, low, high)));
  }
  return f32_to_f16(scale);
}

}  // namespace

uint16_t encode_int8_block(std::span<const float> values, std::span<int8_t> integers) {
  return encode_block(values, integers, int8_scales, -127, 127);
}

uint16_t encode_int4_block(std::span<const float> values, std::span<int8_t> integers) {
  return encode_block(values, integers, int4_scales, -8, 7);
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
