// Eight floats that are worked on at once, one of each of eight blocks or rows: the same operations on all of them, in
// the order in which they would be done on one, so that results do not depend on the processor.
//
// GCC and Clang make vector instructions of it, others loops. A function that is marked CRIA_PROCESSOR_CLONES is
// compiled for processors with AVX2 too where that can be chosen when the program starts: fused multiply-adds, which
// would round differently, are not used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/float16.h"

#if defined(__GNUC__)
#define CRIA_INLINE [[gnu::always_inline]] inline
#define CRIA_INLINE_LAMBDA __attribute__((always_inline))
#else
#define CRIA_INLINE inline
#define CRIA_INLINE_LAMBDA
#endif

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define CRIA_PROCESSOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CRIA_PROCESSOR_CLONES
#endif

namespace cria::quant {

inline constexpr size_t kLanes = 8;

#if defined(__GNUC__)

/// At any alignment of 4 bytes.
using Lanes = float __attribute__((vector_size(4 * kLanes), aligned(4)));

/// a < b ? x : y, lane by lane.
CRIA_INLINE void select_less(const Lanes& a, const Lanes& b, const Lanes& x, const Lanes& y, Lanes& out) {
  out = a < b ? x : y;
}

/// The nearest f16, ties to even; infinite from 65,520 on; NaN stays.
CRIA_INLINE void round_to_f16(Lanes& lanes) {
  using Words = uint32_t __attribute__((vector_size(4 * kLanes), aligned(4)));
  Words bits;
  std::memcpy(&bits, &lanes, sizeof(bits));
  const Words magnitude = bits & 0x7FFFFFFFU;
  const Words kept = (bits + (0xFFFU + ((bits >> 13U) & 1U))) & 0xFFFFE000U;  // 10 bits behind the point
  Lanes normal;
  std::memcpy(&normal, &kept, sizeof(normal));
  const Lanes small = (lanes + 0.75F) - 0.75F;  // below 2^-14 steps are 2^-24, which are those of 0.75 in f32
  const Lanes large = normal * 0x1p127F;
  const Lanes finite = magnitude < 0x38800000U ? small : normal;
  const Lanes rounded = magnitude < 0x477FF000U ? finite : large * 2.0F;
  lanes = magnitude > 0x7F800000U ? lanes : rounded;  // rounding would carry the bits of some NaN round to 0
}

#else

struct Lanes {
  float at[kLanes] = {};
  float& operator[](size_t i) { return at[i]; }
  float operator[](size_t i) const { return at[i]; }
};

template <typename Operation>
Lanes lane_by_lane(const Lanes& a, const Lanes& b, Operation operation) {
  Lanes out;
  for (size_t i = 0; i < kLanes; ++i) out[i] = operation(a[i], b[i]);
  return out;
}
inline Lanes operator+(const Lanes& a, const Lanes& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x + y; });
}
inline Lanes operator-(const Lanes& a, const Lanes& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x - y; });
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x * y; });
}
inline Lanes operator/(const Lanes& a, const Lanes& b) {
  return lane_by_lane(a, b, [](float x, float y) { return x / y; });
}
inline Lanes& operator+=(Lanes& a, const Lanes& b) { return a = a + b; }
inline Lanes& operator-=(Lanes& a, const Lanes& b) { return a = a - b; }

inline void select_less(const Lanes& a, const Lanes& b, const Lanes& x, const Lanes& y, Lanes& out) {
  Lanes chosen;
  for (size_t i = 0; i < kLanes; ++i) chosen[i] = a[i] < b[i] ? x[i] : y[i];
  out = chosen;
}

inline void round_to_f16(Lanes& lanes) {
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = f16_to_f32(f32_to_f16(lanes[i]));
}

#endif

CRIA_INLINE void fill(Lanes& lanes, float value) {
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = value;
}

/// Each lane within [low, high]; NaN stays.
CRIA_INLINE void clamp(Lanes& lanes, const Lanes& low, const Lanes& high) {
  select_less(lanes, low, low, lanes, lanes);
  select_less(high, lanes, high, lanes, lanes);
}

/// The whole numbers nearest to values of less than 2^22, ties to even: adding 1.5 * 2^23 leaves no bits for fractions.
CRIA_INLINE void round_to_whole(Lanes& lanes) {
  Lanes no_fractions;
  fill(no_fractions, 0x1.8p23F);
  lanes = (lanes + no_fractions) - no_fractions;
}

/// 1 / x, and 0 for 0.
CRIA_INLINE void invert(Lanes& lanes) {
  const Lanes zero{};
  Lanes one;
  fill(one, 1);
  const Lanes inverse = one / lanes;
  Lanes magnitude;
  select_less(lanes, zero, zero - lanes, lanes, magnitude);
  select_less(zero, magnitude, inverse, zero, lanes);
}

}  // namespace cria::quant
