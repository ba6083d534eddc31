#include "quant/k_quant_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace cria::quant {
namespace {

constexpr size_t kBlock = 256;
constexpr uint16_t kNotStored = 0x7E00;  // NaN
constexpr int kCandidates = 11;

float as_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

/// The whole number nearest to a value of less than 2^22, ties to even: adding 1.5 * 2^23 leaves no bits for fractions.
float nearest(float value) {
  constexpr float kNoFractions = 0x1.8p23F;
  return (value + kNoFractions) - kNoFractions;
}

/// The integer of a value = integer * scale - offset.
float integer_of(float value, float inverse, float offset, float low, float high) {
  return nearest(std::clamp((value + offset) * inverse, low, high));
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

float squared_error(std::span<const float> values, const Fit& fit, const Range& range) {
  const float inverse = inverse_of(fit.scale);
  float error = 0;
  for (const float value : values) {
    const float integer = integer_of(value, inverse, fit.offset, range.low, range.high);
    const float difference = value - (fit.scale * integer - fit.offset);
    error += difference * difference;
  }
  return error;
}

/// The least-squares fit to the integers that a fit gives; offsets are never negative.
Fit refined(std::span<const float> values, const Fit& fit, const Range& range, bool has_offset) {
  const float inverse = inverse_of(fit.scale);
  float q = 0, qq = 0, x = 0, qx = 0;
  for (const float value : values) {
    const float integer = integer_of(value, inverse, fit.offset, range.low, range.high);
    q += integer;
    qq += integer * integer;
    x += value;
    qx += integer * value;
  }
  const auto n = static_cast<float>(values.size());
  const float determinant = n * qq - q * q;
  if (has_offset && determinant > 0) {
    const float scale = (n * qx - q * x) / determinant;
    const float offset = (scale * q - x) / n;
    if (scale > 0 && offset >= 0) return {scale, offset};
  }
  return qq == 0 ? fit : Fit{.scale = qx / qq, .offset = 0};
}

/// The best of several fits for a group with scale and offset (range.low is 0) or with a scale alone.
Fit best_fit(std::span<const float> values, const Range& range) {
  const bool has_offset = range.low == 0;
  const auto [least, most] = std::ranges::minmax(values);
  const float offset = has_offset ? std::max(-least, 0.0F) : 0;
  // With a scale alone, the element farthest from 0 gets the lowest integer, as there is one more below 0.
  const float extreme = -least > most ? least : most;
  Fit best;
  float error = squared_error(values, best, range);
  for (int k = 0; k < kCandidates; ++k) {
    const float steps = 0.2F * static_cast<float>(k - kCandidates / 2);
    Fit fit{.scale = has_offset ? (most + offset) / (range.high + steps) : extreme / (range.low + steps),
            .offset = offset};
    for (int round = 0; round < 2; ++round) {
      if (const float own = squared_error(values, fit, range); own < error) {
        error = own;
        best = fit;
      }
      fit = refined(values, fit, range, has_offset);
    }
  }
  return best;
}

/// Of the whole numbers on both sides of value / factor, and so of offsets, the pair with the least error.
struct Quantised {
  int scale = 0, offset = 0;
};
Quantised quantised(std::span<const float> values, const Fit& fit, const Fit& factors, const Range& range,
                    const Range& scale_range) {
  Quantised best;
  float error = INFINITY;
  const float scale = std::floor(fit.scale * inverse_of(factors.scale));
  const float offset = std::floor(fit.offset * inverse_of(factors.offset));
  for (const float s : {scale, scale + 1}) {
    for (const float o : {offset, offset + 1}) {
      if (s < scale_range.low || s > scale_range.high || o > scale_range.high || (o > 0 && factors.offset == 0)) {
        continue;
      }
      const float own = squared_error(values, {.scale = s * factors.scale, .offset = o * factors.offset}, range);
      if (own < error) {
        error = own;
        best = {static_cast<int>(s), static_cast<int>(o)};
      }
    }
  }
  return best;
}

/// A block's groups of `size` columns: what they are multiples of, their multiples, and the integers of the columns.
template <size_t size>
struct Groups {
  Fit factors;  // as f16 holds them
  std::array<Quantised, kBlock / size> multiples;
  std::array<int, kBlock> integers{};
  bool is_storable = true;
};

template <size_t size>
Groups<size> groups_of(std::span<const float, kBlock> values, const Range& range, const Range& scale_range) {
  Groups<size> groups;
  std::array<Fit, kBlock / size> fits;
  Fit largest;
  for (size_t g = 0; g < fits.size(); ++g) {
    fits[g] = best_fit(values.subspan(g * size, size), range);
    largest.scale = std::max(largest.scale, std::abs(fits[g].scale));
    largest.offset = std::max(largest.offset, fits[g].offset);
  }
  groups.factors = {as_f16(largest.scale / scale_range.high), as_f16(largest.offset / scale_range.high)};
  groups.is_storable = std::isfinite(groups.factors.scale) && std::isfinite(groups.factors.offset) &&
                       std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  if (!groups.is_storable) return groups;
  for (size_t g = 0; g < fits.size(); ++g) {
    const auto group = values.subspan(g * size, size);
    const Quantised multiple = groups.multiples[g] = quantised(group, fits[g], groups.factors, range, scale_range);
    const float scale = groups.factors.scale * static_cast<float>(multiple.scale);
    const float offset = groups.factors.offset * static_cast<float>(multiple.offset);
    for (size_t i = 0; i < size; ++i) {
      groups.integers[g * size + i] =
          static_cast<int>(integer_of(group[i], inverse_of(scale), offset, range.low, range.high));
    }
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
    const Quantised& multiple = groups.multiples[g];
    put_six_bit_pair(static_cast<uint32_t>(multiple.scale), static_cast<uint32_t>(multiple.offset), g, block.scales);
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
