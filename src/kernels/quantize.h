// Quantising float weights on the device, row by row (quantize.wgsl).
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class Quantize {
 public:
  /// From a float type to a quantised format. Errors: kDevice.
  static Result<Quantize> create(gpu::Device& device, WeightType from, const WeightFormat& to);
  /// Fills rows first_row … first_row + rows - 1 of a shard with the quantised rows of `source`: floats
  /// [rows, columns], padded_columns(columns) elements a row.
  void record(gpu::Recorder& recorder, const gpu::Buffer& source, uint32_t rows, uint32_t columns,
              const Matrix::Shard& shard, uint32_t first_row) const;

 private:
  gpu::Pipeline pipeline_;
  WeightFormat format_;
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
