#include "quant/k_quant_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/lanes.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"

namespace cria::quant {
namespace {

constexpr size_t kBlock = 256;
constexpr uint16_t kNotStored = 0x7E00;  // NaN
constexpr size_t kCandidates = 12;
constexpr size_t kLargestGroup = 32;

float as_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

/// Numbers from `low` to `high`: the integers of a type, and the multiples that its groups' scales and offsets are.
struct Range {
  float low, high;
};

/// What eight groups are decoded with, each in a lane: value = integer * scale - offset.
struct Fit {
  Lanes scale{}, offset{};
};

/// Of eight groups' integers q and values x.
struct Sums {
  Lanes q{}, qq{}, qx{};
};

/// Eight groups of `size` columns, column by column.
struct Groups {
  size_t size = 0;
  Lanes values[kLargestGroup];
};

/// A range for all lanes.
struct LaneRange {
  explicit LaneRange(const Range& range) {
    fill(low, range.low);
    fill(high, range.high);
  }
  Lanes low, high;
};

CRIA_INLINE void find_integer(const Lanes& value, const Lanes& offset, const Lanes& inverse, const LaneRange& range,
                              Lanes& out) {
  out = (value + offset) * inverse;
  clamp(out, range.low, range.high);
  round_to_whole(out);
}

/// The squared error of a fit, and with `sums` those.
CRIA_INLINE void try_fit(const Groups& groups, const Fit& fit, const LaneRange& range, Lanes& error, Sums* sums) {
  Lanes inverse = fit.scale;
  invert(inverse);
  Lanes squares{};
  Sums all;
  for (size_t i = 0; i < groups.size; ++i) {
    const Lanes value = groups.values[i];
    Lanes integer;
    find_integer(value, fit.offset, inverse, range, integer);
    const Lanes difference = value - (fit.scale * integer - fit.offset);
    squares += difference * difference;
    if (sums == nullptr) continue;
    all.q += integer;
    all.qq += integer * integer;
    all.qx += integer * value;
  }
  error = squares;
  if (sums != nullptr) *sums = all;
}

/// The least-squares fit to the integers that `fit` has given, for values whose sum is x; offsets are never negative.
CRIA_INLINE void refine(const Sums& sums, size_t size, const Lanes& x, bool has_offset, Fit& fit) {
  const Lanes zero{};
  Fit refined{.scale = fit.scale, .offset = fit.offset};
  select_less(zero, sums.qq, sums.qx / sums.qq, fit.scale, refined.scale);
  select_less(zero, sums.qq, zero, fit.offset, refined.offset);
  if (has_offset) {
    Lanes count;
    fill(count, static_cast<float>(size));
    const Lanes determinant = count * sums.qq - sums.q * sums.q;
    const Lanes scale = (count * sums.qx - sums.q * x) / determinant;
    const Lanes offset = (scale * sums.q - x) / count;
    Lanes usable;  // above 0 where all of determinant, scale and offset allow it
    select_less(zero, determinant, scale, zero, usable);
    select_less(offset, zero, zero, usable, usable);
    select_less(zero, usable, scale, refined.scale, refined.scale);
    select_less(zero, usable, offset, refined.offset, refined.offset);
  }
  fit = refined;
}

/// The best of several fits for groups with scale and offset (range.low is 0) or with a scale alone.
CRIA_PROCESSOR_CLONES void find_best_fits(const Groups& groups, const Range& range, Fit& best) {
  const bool has_offset = range.low == 0;
  const Lanes zero{};
  const LaneRange integers(range);
  Lanes least = groups.values[0];
  Lanes most = groups.values[0];
  Lanes sum{};
  for (size_t i = 0; i < groups.size; ++i) {
    const Lanes value = groups.values[i];
    select_less(value, least, value, least, least);
    select_less(most, value, value, most, most);
    sum += value;
  }
  Lanes offset{};
  if (has_offset) select_less(least, zero, zero - least, zero, offset);
  // With a scale alone, the element farthest from 0 gets the lowest integer, as there is one more below 0.
  Lanes extreme;
  select_less(most, zero - least, least, most, extreme);
  if (has_offset) extreme = most + offset;
  std::array<Fit, kCandidates> fits;  // the last one has the scale 0
  for (size_t k = 0; k + 1 < kCandidates; ++k) {
    Lanes steps;
    fill(steps, (has_offset ? range.high : range.low) + 0.2F * (static_cast<float>(k) - 5));
    fits[k].scale = extreme / steps;
    fits[k].offset = offset;
  }
  Lanes least_error;
  fill(least_error, std::numeric_limits<float>::infinity());
  best = {};
  for (int round = 0; round < 2; ++round) {
    for (Fit& fit : fits) {
      Lanes error;
      Sums sums;
      try_fit(groups, fit, integers, error, round == 0 ? &sums : nullptr);
      select_less(error, least_error, fit.scale, best.scale, best.scale);
      select_less(error, least_error, fit.offset, best.offset, best.offset);
      select_less(error, least_error, error, least_error, least_error);
      if (round == 0) refine(sums, groups.size, sum, has_offset, fit);
    }
  }
}

/// value / factor rounded down, or the number above that, within a range.
CRIA_INLINE void find_neighbour(const Lanes& value, float factor, bool up, const Range& range, Lanes& out) {
  Lanes multiple;
  fill(multiple, factor);
  invert(multiple);
  multiple = value * multiple;
  for (size_t i = 0; i < kLanes; ++i) multiple[i] = std::floor(multiple[i]) + (up ? 1.0F : 0.0F);
  clamp(multiple, LaneRange(range).low, LaneRange(range).high);
  out = multiple;
}

/// Gives groups that are best decoded with `fit` multiples of `scale_factor` and `offset_factor`: of the whole numbers
/// on both sides of scale / factor, and so of offsets, the pair with the least error. Then their columns' integers.
CRIA_PROCESSOR_CLONES void quantise(const Groups& groups, const Fit& fit, float scale_factor, float offset_factor,
                                    const Range& range, const Range& multiples, Fit& own, Lanes* integers) {
  const LaneRange limits(range);
  Lanes scale_step;
  Lanes offset_step;
  fill(scale_step, scale_factor);
  fill(offset_step, offset_factor);
  Lanes least_error;
  fill(least_error, std::numeric_limits<float>::infinity());
  own = {};
  const int pairs = range.low == 0 ? 4 : 2;  // without offsets two
  for (int i = 0; i < pairs; ++i) {
    Fit pair;
    find_neighbour(fit.scale, scale_factor, i % 2 != 0, multiples, pair.scale);
    if (range.low == 0) {
      find_neighbour(fit.offset, offset_factor, i >= 2, multiples, pair.offset);
    }
    Lanes error;
    try_fit(groups, {.scale = pair.scale * scale_step, .offset = pair.offset * offset_step}, limits, error, nullptr);
    select_less(error, least_error, pair.scale, own.scale, own.scale);
    select_less(error, least_error, pair.offset, own.offset, own.offset);
    select_less(error, least_error, error, least_error, least_error);
  }
  const Lanes offset = own.offset * offset_step;
  Lanes inverse = own.scale * scale_step;
  invert(inverse);
  for (size_t i = 0; i < groups.size; ++i) find_integer(groups.values[i], offset, inverse, limits, integers[i]);
}

/// A block's groups of `size` columns: the factors that their scales and offsets are multiples of, as f16 holds them,
/// the multiples, and the integers of the columns.
template <size_t size>
struct BlockGroups {
  float scale_factor = 0, offset_factor = 0;
  std::array<int, kBlock / size> scales{}, offsets{};
  std::array<int, kBlock> integers{};
  bool is_storable = true;
};

template <size_t size>
BlockGroups<size> groups_of(std::span<const float, kBlock> values, const Range& range, const Range& multiples) {
  constexpr size_t kEights = kBlock / size / kLanes;
  BlockGroups<size> block;
  std::array<Groups, kEights> groups;
  std::array<Fit, kEights> fits;
  float largest_scale = 0;
  float largest_offset = 0;
  for (size_t e = 0; e < kEights; ++e) {
    groups[e].size = size;
    for (size_t g = 0; g < kLanes; ++g) {
      for (size_t i = 0; i < size; ++i) groups[e].values[i][g] = values[(e * kLanes + g) * size + i];
    }
    find_best_fits(groups[e], range, fits[e]);
    for (size_t g = 0; g < kLanes; ++g) {
      largest_scale = std::max(largest_scale, std::abs(fits[e].scale[g]));
      largest_offset = std::max(largest_offset, fits[e].offset[g]);
    }
  }
  block.scale_factor = as_f16(largest_scale / multiples.high);
  block.offset_factor = as_f16(largest_offset / multiples.high);
  block.is_storable = std::isfinite(block.scale_factor) && std::isfinite(block.offset_factor) &&
                      std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  if (!block.is_storable) return block;
  for (size_t e = 0; e < kEights; ++e) {
    Fit own;
    Lanes integers[size];
    quantise(groups[e], fits[e], block.scale_factor, block.offset_factor, range, multiples, own, integers);
    for (size_t g = 0; g < kLanes; ++g) {
      block.scales[e * kLanes + g] = static_cast<int>(own.scale[g]);
      block.offsets[e * kLanes + g] = static_cast<int>(own.offset[g]);
      for (size_t i = 0; i < size; ++i) {
        block.integers[(e * kLanes + g) * size + i] = static_cast<int>(integers[i][g]);
      }
    }
  }
  return block;
}

/// Writes what Q4_K and Q5_K have in common, the low four bits of integers among it.
template <typename Block>
BlockGroups<32> put_groups(std::span<const float, kBlock> values, float largest, Block& block) {
  const BlockGroups<32> groups = groups_of<32>(values, {0, largest}, {0, 63});
  if (!groups.is_storable) {
    block.scale = block.offset = kNotStored;
    return groups;
  }
  block.scale = f32_to_f16(groups.scale_factor);
  block.offset = f32_to_f16(groups.offset_factor);
  for (uint32_t g = 0; g < 8; ++g) {
    const auto scale = static_cast<uint32_t>(groups.scales[g]);
    put_six_bit_pair(scale, static_cast<uint32_t>(groups.offsets[g]), g, block.scales);
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
    const BlockGroups<32> groups = put_groups(own, 31, block);
    for (size_t e = 0; e < kBlock; ++e) {
      block.high[e % 32] |= static_cast<uint8_t>((groups.integers[e] >> 4) << (e / 32));
    }
  });
}

void encode_q6_k(std::span<const float> values, std::byte* out) {
  for_each_block<BlockQ6_K>(values, out, [](std::span<const float, kBlock> own, BlockQ6_K& block) {
    const BlockGroups<16> groups = groups_of<16>(own, {-32, 31}, {-127, 127});
    block.scale = groups.is_storable ? f32_to_f16(groups.scale_factor) : kNotStored;
    for (size_t g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(groups.scales[g]);
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
