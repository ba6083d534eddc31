#include "kernels/quantize.h"

#include <algorithm>

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 64;
struct Params {
  uint32_t rows, columns, first_row, rows_per_z;
};
}  // namespace

Result<Quantize> Quantize::create(gpu::Device& device, WeightType from, const WeightFormat& to) {
  CRIA_CHECK(!is_quantised(from) && is_quantised(to.type) && !is_k_quant(to.type));
  Quantize op;
  op.format_ = to;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  CRIA_TRY_ASSIGN(op.pipeline_, SpecBuilder(device, "quantize")
                                    .weights(from)
                                    .suffix(fmt::format("_to_{}_{}", weight_type_name(to.type), to.block))
                                    .constant("BLOCK", to.block)
                                    .constant("BITS", weight_type_bits(to.type))
                                    .constant("WORKGROUP_SIZE", kWorkgroup)
                                    .build(device, "rrww", sizeof(Params)));
  return op;
}

void Quantize::record(gpu::Recorder& recorder, const gpu::Buffer& source, uint32_t rows, uint32_t columns,
                      const Matrix::Shard& shard, uint32_t first_row) const {
  const uint32_t rows_per_z = std::min(rows, grid_limit_);
  const Params params{.rows = rows, .columns = columns, .first_row = first_row, .rows_per_z = rows_per_z};
  const gpu::Binding bindings[] = {source, source, shard.buffer, shard.scales};
  const uint32_t pairs = padded_columns(columns, format_) / (2 * format_.block);
  recorder.dispatch(pipeline_, gpu::as_params(params), bindings,
                    {divide_up(pairs, kWorkgroup), rows_per_z, divide_up(rows, rows_per_z)});
}

}  // namespace cria::kernels
