// A matrix quantised in blocks as a buffer holds it, on the CPU (layout: quant/blocks.h), all of it poison until set.
#pragma once

#include "selftest/harness.h"

namespace cria::selftest {

class BlockImage {
 public:
  /// `columns` that count; rows are as long as the format pads them.
  BlockImage(const kernels::WeightFormat& format, Poison poison, size_t rows, size_t columns);

  /// Stores a table's rows, quantised, and replaces its values by the stored ones. Columns past the last, their
  /// blocks' scales among them, stay poison. A scale below the smallest normal f16 becomes 0, since a device may
  /// read it as that.
  void quantise(Table& table);

  /// Replaces the words by those that a kernel left behind.
  void assign(std::span<const uint32_t> values, std::span<const uint32_t> scales);

  [[nodiscard]] int integer(size_t row, size_t column) const;
  [[nodiscard]] uint16_t scale_bits(size_t row, size_t block) const;

  /// Columns of a row, those of its padding counted.
  [[nodiscard]] size_t stride() const { return stride_; }
  [[nodiscard]] size_t blocks() const { return stride_ / format_.block; }
  /// The planes, each with a tail of poison.
  [[nodiscard]] std::span<const uint32_t> values() const { return values_; }
  [[nodiscard]] std::span<const uint32_t> scales() const { return scales_; }

 private:
  /// Where a column's bits stand among all bits of the values.
  [[nodiscard]] size_t bit_of(size_t row, size_t column) const;
  void set_integer(size_t row, size_t column, int integer);
  void set_scale_bits(size_t row, size_t block, uint16_t bits);

  kernels::WeightFormat format_;
  size_t stride_;
  std::vector<uint32_t> values_;
  std::vector<uint32_t> scales_;
};

}  // namespace cria::selftest
