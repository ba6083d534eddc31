#include "quant/k_quant_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace cria::quant {
namespace {

constexpr size_t kBlock = 256;
constexpr uint16_t kNotStored = 0x7E00;  // NaN
constexpr size_t kLanes = 12;

float as_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

/// The whole number nearest to a value of less than 2^22, ties to even: adding 1.5 * 2^23 leaves no bits for fractions.
float nearest(float value) {
  constexpr float kNoFractions = 0x1.8p23F;
  return (value + kNoFractions) - kNoFractions;
}

float inverse_of(float scale) { return scale == 0 ? 0 : 1 / scale; }

/// The largest and smallest integer of a type.
struct Range {
  float low, high;
};

/// What a group is decoded with: value = integer * scale - offset.
struct Fit {
  float scale = 0, offset = 0;
};

float integer_of(float value, const Fit& fit, const Range& range) {
  return nearest(std::clamp((value + fit.offset) * inverse_of(fit.scale), range.low, range.high));
}

/// Fits that are tried side by side, in vectors of four, and what each makes of a group: the squared error, and sums
/// over its integers q and the values x.
struct Trial {
  std::array<float, kLanes> scale{}, offset{}, error{}, q{}, qq{}, qx{};
  void set(size_t lane, const Fit& fit) {
    scale[lane] = fit.scale;
    offset[lane] = fit.offset;
  }
  [[nodiscard]] Fit fit(size_t lane) const { return {.scale = scale[lane], .offset = offset[lane]}; }
};

void run(Trial& trial, std::span<const float> values, const Range& range) {
  const auto scale = trial.scale;
  const auto offset = trial.offset;
  std::array<float, kLanes> inverse{}, error{}, q{}, qq{}, qx{};
  for (size_t k = 0; k < kLanes; ++k) inverse[k] = inverse_of(scale[k]);
  for (const float value : values) {
    for (size_t k = 0; k < kLanes; ++k) {
      const float integer = nearest(std::clamp((value + offset[k]) * inverse[k], range.low, range.high));
      const float difference = value - (scale[k] * integer - offset[k]);
      error[k] += difference * difference;
      q[k] += integer;
      qq[k] += integer * integer;
      qx[k] += integer * value;
    }
  }
  trial.error = error;
  trial.q = q;
  trial.qq = qq;
  trial.qx = qx;
}

/// The least-squares fit to the integers of a trial's lane for `count` values whose sum is x; offsets are never
/// negative.
Fit refined(const Trial& trial, size_t lane, float count, float x, bool has_offset) {
  const float q = trial.q[lane];
  const float qq = trial.qq[lane];
  const float qx = trial.qx[lane];
  const float determinant = count * qq - q * q;
  if (has_offset && determinant > 0) {
    const float scale = (count * qx - q * x) / determinant;
    const float offset = (scale * q - x) / count;
    if (scale > 0 && offset >= 0) return {.scale = scale, .offset = offset};
  }
  return qq == 0 ? trial.fit(lane) : Fit{.scale = qx / qq, .offset = 0};
}

/// The best of several fits for a group with scale and offset (range.low is 0) or with a scale alone.
Fit best_fit(std::span<const float> values, const Range& range) {
  const bool has_offset = range.low == 0;
  const auto [least, most] = std::ranges::minmax(values);
  const float offset = has_offset ? std::max(-least, 0.0F) : 0;
  // With a scale alone, the element farthest from 0 gets the lowest integer, as there is one more below 0.
  const float extreme = -least > most ? least : most;
  Trial trial;  // the last lane has the scale 0
  for (size_t k = 0; k + 1 < kLanes; ++k) {
    const float steps = 0.2F * (static_cast<float>(k) - 5);
    trial.set(k, {.scale = has_offset ? (most + offset) / (range.high + steps) : extreme / (range.low + steps),
                  .offset = offset});
  }
  const float sum = std::accumulate(values.begin(), values.end(), 0.0F);
  Fit best;
  float error = INFINITY;
  for (int round = 0; round < 2; ++round) {
    run(trial, values, range);
    for (size_t k = 0; k < kLanes; ++k) {
      if (trial.error[k] < error) {
        error = trial.error[k];
        best = trial.fit(k);
      }
    }
    for (size_t k = 0; k < kLanes; ++k) {
      trial.set(k, refined(trial, k, static_cast<float>(values.size()), sum, has_offset));
    }
  }
  return best;
}

/// Scale and offset of a group as multiples of its block's factors.
struct Multiples {
  int scale = 0, offset = 0;
};

/// Of the whole numbers on both sides of scale / factor, and so of offsets, the pair with the least error.
Multiples quantised(std::span<const float> values, const Fit& fit, const Fit& factors, const Range& range,
                    const Range& multiples) {
  std::array<Multiples, 4> pairs;
  Trial trial;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto neighbour = [&](float value, float factor, size_t up) {
      const float multiple = std::floor(value * inverse_of(factor)) + static_cast<float>(up);
      return std::clamp(multiple, multiples.low, multiples.high);
    };
    const float scale = neighbour(fit.scale, factors.scale, i % 2);
    const float offset = neighbour(fit.offset, factors.offset, i / 2);
    pairs[i] = {.scale = static_cast<int>(scale), .offset = range.low == 0 ? static_cast<int>(offset) : 0};
    trial.set(i, {.scale = scale * factors.scale, .offset = offset * factors.offset});
  }
  run(trial, values, range);
  return pairs[static_cast<size_t>(std::min_element(trial.error.begin(), trial.error.begin() + pairs.size()) -
                                   trial.error.begin())];
}

/// A block's groups of `size` columns: what they are multiples of, their multiples, and the integers of the columns.
template <size_t size>
struct Groups {
  Fit factors;  // as f16 holds them
  std::array<Multiples, kBlock / size> multiples;
  std::array<int, kBlock> integers{};
  bool is_storable = true;
};

template <size_t size>
Groups<size> groups_of(std::span<const float, kBlock> values, const Range& range, const Range& multiples) {
  Groups<size> groups;
  std::array<Fit, kBlock / size> fits;
  Fit largest;
  for (size_t g = 0; g < fits.size(); ++g) {
    fits[g] = best_fit(values.subspan(g * size, size), range);
    largest.scale = std::max(largest.scale, std::abs(fits[g].scale));
    largest.offset = std::max(largest.offset, fits[g].offset);
  }
  groups.factors = {as_f16(largest.scale / multiples.high), as_f16(largest.offset / multiples.high)};
  groups.is_storable = std::isfinite(groups.factors.scale) && std::isfinite(groups.factors.offset) &&
                       std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  if (!groups.is_storable) return groups;
  for (size_t g = 0; g < fits.size(); ++g) {
    const auto group = values.subspan(g * size, size);
    const Multiples own = groups.multiples[g] = quantised(group, fits[g], groups.factors, range, multiples);
    const Fit fit = {.scale = groups.factors.scale * static_cast<float>(own.scale),
                     .offset = groups.factors.offset * static_cast<float>(own.offset)};
    for (size_t i = 0; i < size; ++i)
      groups.integers[g * size + i] = static_cast<int>(integer_of(group[i], fit, range));
  }
  return groups;
}

/// Writes what Q4_K and Q5_K have in common, the low four bits of integers among it.
template <typename Block>
Groups<32> put_groups(std::span<const float, kBlock> values, float largest, Block& block) {
  const Groups<32> groups = groups_of<32>(values, {0, largest}, {0, 63});
  if (!groups.is_storable) {
    block.scale = block.offset = kNotStored;
    return groups;
  }
  block.scale = f32_to_f16(groups.factors.scale);
  block.offset = f32_to_f16(groups.factors.offset);
  for (uint32_t g = 0; g < 8; ++g) {
    const Multiples& own = groups.multiples[g];
    put_six_bit_pair(static_cast<uint32_t>(own.scale), static_cast<uint32_t>(own.offset), g, block.scales);
  }
  for (size_t e = 0; e < kBlock; ++e) {
    block.halves[e / 64 * 32 + e % 32] |= static_cast<uint8_t>((groups.integers[e] & 15) << (e / 32 % 2 * 4));
  }
  return groups;
}

/// Calls `encode` with each block's values and target.
template <typename Block>
void for_each_block(std::span<const float> values, std::byte* out,
                    void (*encode)(std::span<const float, kBlock>, Block&)) {
  for (size_t at = 0; at < values.size(); at += kBlock, out += sizeof(Block)) {
    Block block{};
    encode(values.subspan(at).first<kBlock>(), block);
    std::memcpy(out, &block, sizeof(block));
  }
}

}  // namespace

void encode_q4_k(std::span<const float> values, std::byte* out) {
  for_each_block<BlockQ4_K>(values, out,
                            [](std::span<const float, kBlock> own, BlockQ4_K& block) { put_groups(own, 15, block); });
}

void encode_q5_k(std::span<const float> values, std::byte* out) {
  for_each_block<BlockQ5_K>(values, out, [](std::span<const float, kBlock> own, BlockQ5_K& block) {
    const Groups<32> groups = put_groups(own, 31, block);
    for (size_t e = 0; e < kBlock; ++e) {
      block.high[e % 32] |= static_cast<uint8_t>((groups.integers[e] >> 4) << (e / 32));
    }
  });
}

void encode_q6_k(std::span<const float> values, std::byte* out) {
  for_each_block<BlockQ6_K>(values, out, [](std::span<const float, kBlock> own, BlockQ6_K& block) {
    const Groups<16> groups = groups_of<16>(own, {-32, 31}, {-127, 127});
    block.scale = groups.is_storable ? f32_to_f16(groups.factors.scale) : kNotStored;
    for (size_t g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(groups.multiples[g].scale);
    for (size_t e = 0; e < kBlock; ++e) {
      const auto bits = static_cast<uint32_t>(groups.is_storable ? groups.integers[e] + 32 : 0);
      const size_t n = e / 128;
      const size_t k = e % 128 / 32;
      block.low[64 * n + 32 * (k % 2) + e % 32] |= static_cast<uint8_t>((bits & 15U) << (k / 2 * 4));
      block.high[32 * n + e % 32] |= static_cast<uint8_t>((bits >> 4U) << (2 * k));
    }
  });
}

}  // namespace cria::quant
