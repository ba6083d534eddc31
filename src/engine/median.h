// The median of samples: what is reported of repeated measurements, as one slow outlier does not move it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cria::engine {

/// The middle sample, or the mean of the two in the middle; 0 of none.
[[nodiscard]] inline double median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const size_t middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

}  // namespace cria::engine
