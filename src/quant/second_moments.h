// The second moments of a product's inputs: what its outputs think of errors in its weights.
//
// For inputs x [columns] seen over a text, H = mean of x x^T. Weights W that are changed to W' change the outputs by
// (W' - W) x, whose squares add up to the rows' (w' - w) H (w' - w)^T on average. Where the inputs have drifted too,
// from x0 to x, since what makes them was changed before, outputs change by W' x - W x0 = (W' - W) x + W (x - x0), and
// the mean square is that plus 2 w D (w' - w)^T, D = mean of (x - x0) x^T, plus what W' has no say in. Source: LeCun et
// al. 1990 and Hassibi & Stork 1993; Frantar et al. 2022 (GPTQ) for weights of language models, and Li et al. 2025
// (GPTAQ) for inputs that drift.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cria::quant {

/// Memory: 8 columns^2 bytes.
class SecondMoments {
 public:
  /// `columns` is a multiple of 16.
  explicit SecondMoments(uint32_t columns)
      : columns_(columns), sums_(uint64_t{columns} * columns), drifts_(sums_.size()) {}

  /// Adds inputs [count, stride], of which the first `columns` of each row count, and what they were before anything
  /// was changed, `originals` of the same shape; on all cores.
  void add(std::span<const float> inputs, std::span<const float> originals, uint32_t stride);

  /// Makes means of the sums, and adds a tenth of the mean square of the columns to the diagonal: where the text says
  /// little about a column, errors count as they do without a text. To be called once. False where a moment is NaN or
  /// infinite, or there were no inputs.
  [[nodiscard]] bool finish();

  [[nodiscard]] uint32_t columns() const { return columns_; }
  /// Row `column` of H [columns, columns].
  [[nodiscard]] const float* row(size_t column) const { return sums_.data() + column * columns_; }
  /// D [columns, columns], row by row.
  [[nodiscard]] const float* drifts() const { return drifts_.data(); }

 private:
  uint32_t columns_;
  std::vector<float> sums_;    // H
  std::vector<float> drifts_;  // D
  uint64_t count_ = 0;
};

}  // namespace cria::quant
