#include "quant/second_moments.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/parallel.h"
#include "quant/lanes.h"

namespace cria::quant {
namespace {

constexpr uint32_t kTileRows = 4;
constexpr uint32_t kTileColumns = 2 * kLanes;
constexpr double kDampening = 0.1;

/// Adds the products of four columns of `lefts` with all of `inputs`: rows first … first + 3 of the sums.
CRIA_PROCESSOR_CLONES void add_rows(const float* lefts, const float* inputs, size_t count, uint32_t stride,
                                    uint32_t columns, uint32_t first, float* sums) {
  for (uint32_t column = 0; column < columns; column += kTileColumns) {
    Lanes tile[kTileRows][2] = {};
    for (size_t t = 0; t < count; ++t) {
      const float* x = inputs + t * stride;
      Lanes left;
      Lanes right;
      std::memcpy(&left, x + column, sizeof(left));
      std::memcpy(&right, x + column + kLanes, sizeof(right));
      for (uint32_t r = 0; r < kTileRows; ++r) {
        Lanes factor;
        fill(factor, lefts[t * stride + first + r]);
        tile[r][0] += factor * left;
        tile[r][1] += factor * right;
      }
    }
    for (uint32_t r = 0; r < kTileRows; ++r) {
      float* target = sums + uint64_t{first + r} * columns + column;
      for (size_t i = 0; i < kLanes; ++i) {
        target[i] += tile[r][0][i];
        target[i + kLanes] += tile[r][1][i];
      }
    }
  }
}

}  // namespace

void SecondMoments::add(std::span<const float> inputs, std::span<const float> originals, uint32_t stride) {
  CRIA_CHECK(columns_ % kTileColumns == 0 && stride >= columns_ && inputs.size() % stride == 0);
  CRIA_CHECK(originals.size() == inputs.size());
  const size_t count = inputs.size() / stride;
  count_ += count;
  std::vector<float> differences(inputs.size());
  std::ranges::transform(inputs, originals, differences.begin(), std::minus());
  parallel_for(columns_ / kTileRows, 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t group = begin; group < end; ++group) {
      const auto first = static_cast<uint32_t>(group * kTileRows);
      add_rows(inputs.data(), inputs.data(), count, stride, columns_, first, sums_.data());
      add_rows(differences.data(), inputs.data(), count, stride, columns_, first, drifts_.data());
    }
  });
}

bool SecondMoments::finish() {
  double trace = 0;
  for (size_t c = 0; c < columns_; ++c) trace += row(c)[c];
  const double dampening = kDampening * trace / columns_;
  double sum = 0;
  for (std::vector<float>* values : {&sums_, &drifts_}) {
    for (float& value : *values) {
      value /= static_cast<float>(count_);
      sum += value;
    }
  }
  for (size_t c = 0; c < columns_; ++c) {
    float& square = sums_[c * columns_ + c];
    square += static_cast<float>(dampening / static_cast<double>(count_));
    if (square == 0) square = 1;  // of inputs that are always 0
  }
  return count_ > 0 && std::isfinite(sum);
}

}  // namespace cria::quant
