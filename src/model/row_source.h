// A matrix's rows as they stand in a checkpoint: which tensor each comes from, in what order, converted where need be.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "formats/checkpoint.h"
#include "kernels/matrix.h"
#include "model/weight_table.h"

namespace cria::model {

/// All elements of a tensor, in the order of its rows.
[[nodiscard]] std::vector<float> to_f32(const formats::TensorView& tensor);

/// Row `row` of a matrix [rows, columns] whose type has been checked, to out [columns].
void decode_row(const formats::TensorView& tensor, uint64_t row, std::span<float> out);

/// The checkpoint's tensors must outlive it, and have been checked (check_tensors). Rows are counted from the first of
/// the stack (MatrixSpec::first_row).
class RowSource {
 public:
  RowSource(const MatrixSpec& spec, const formats::Checkpoint& checkpoint);

  /// The format that loses nothing of the parts, or least: their own where they have one; int4 in blocks of 32 for
  /// Q4_0, int8 for Q8_0 and for both; f16 for other blocks and mixtures of blocks; f32 where they differ.
  [[nodiscard]] kernels::WeightFormat natural_format() const;
  /// The float type that rows are read in to be quantised anew: that of all parts, f32 for blocks and where they
  /// differ.
  [[nodiscard]] kernels::WeightType float_type() const;
  /// Whether read_blocks loses nothing: the blocks are those of the file.
  [[nodiscard]] bool holds_blocks(const kernels::WeightFormat& format) const;

  /// Rows first … first + count - 1 in a float type to out [count * row_bytes], each padded with zeros, on all cores.
  /// `out` is written from front to back in each row and never read. Errors: kInvalidInput for a value that does not
  /// fit the type.
  Status read(uint64_t first, uint64_t count, kernels::WeightType type, uint64_t row_bytes,
              std::span<std::byte> out) const;
  /// The same rows as blocks: integers [count, padded columns] and scales, in the layout of quant/blocks.h or
  /// quant/super_blocks.h, on all cores. The blocks of K-quants are made by the CPU's encoder where the file has
  /// others; int8 and int4 need holds_blocks.
  void read_blocks(uint64_t first, uint64_t count, const kernels::WeightFormat& format, std::span<std::byte> integers,
                   std::span<std::byte> scales) const;

  /// Lets the system take back the memory of rows that have been used; returns their bytes.
  uint64_t release(uint64_t first, uint64_t count) const;

 private:
  struct Place {
    const formats::TensorView* tensor = nullptr;
    uint64_t row = 0;
    uint64_t rows_left = 0;  // in the tensor, this one included
  };
  [[nodiscard]] Place place(uint64_t row) const;
  [[nodiscard]] uint64_t source_row_bytes(const formats::TensorView& tensor) const;
  [[nodiscard]] const std::byte* source_row(const Place& from) const;
  Status convert_row(const Place& from, kernels::WeightType type, std::span<float> decoded, std::byte* to) const;

  const MatrixSpec& spec_;
  std::vector<const formats::TensorView*> tensors_;
};

}  // namespace cria::model
