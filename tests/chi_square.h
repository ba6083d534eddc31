// Pearson's test of counted draws against the distribution they should come from.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>

namespace cria {

/// Fails the test where the counts are too far from the probabilities to be chance (once in about a million
/// tests), or where something of probability 0 was drawn. Cells expected less than 5 times are pooled.
inline void expect_distribution(std::span<const uint32_t> counts, std::span<const double> probabilities) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double statistic = 0;
  int cells = 0;
  const auto add = [&](double count, double expected) {
    statistic += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  double pooled_count = 0;
  double pooled_expected = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = probabilities[i] * draws;
    if (expected == 0) {
      EXPECT_EQ(counts[i], 0U) << i << " has probability 0";
    } else if (expected < 5) {
      pooled_count += counts[i];
      pooled_expected += expected;
    } else {
      add(counts[i], expected);
    }
  }
  if (pooled_expected >= 5) {
    add(pooled_count, pooled_expected);
  } else {
    EXPECT_LE(pooled_count, 20) << "expected " << pooled_expected;  // Poisson: more than 20 once in ten million
  }
  if (cells < 2) return;
  // The quantile of the statistic, after Wilson and Hilferty 1931; 4.75 is the normal distribution's at 1e-6.
  const double freedom = cells - 1;
  const double limit = freedom * std::pow(1 - 2 / (9 * freedom) + 4.75 * std::sqrt(2 / (9 * freedom)), 3);
  EXPECT_LT(statistic, limit) << cells << " cells, " << draws << " draws";
}

}  // namespace cria
