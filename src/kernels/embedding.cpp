#include "kernels/embedding.h"

namespace cria::kernels {
namespace {
constexpr uint32_t kWorkgroup = 64;
struct Params {
  uint32_t columns, chunks, stride, first_row, rows, pad[3];
};
}  // namespace

Result<Embedding> Embedding::create(gpu::Device& device, const WeightFormat& format) {
  Embedding op;
  CRIA_TRY_ASSIGN(op.pipeline_, SpecBuilder(device, "embedding")
                                    .weights(format)
                                    .constant("WORKGROUP_SIZE", kWorkgroup)
                                    .build(device, "rrrw", sizeof(Params)));
  return op;
}

void Embedding::record(gpu::Recorder& recorder, const Matrix& table, const gpu::Buffer& tokens, const Activation& y,
                       uint32_t count) const {
  const uint32_t chunks = padded_columns(table.columns) / kChunk;
  for (const Matrix::Shard& shard : table.shards) {
    const Params params{.columns = table.columns,
                        .chunks = chunks,
                        .stride = y.stride() / 4,
                        .first_row = shard.first_row,
                        .rows = shard.rows,
                        .pad = {}};
    const gpu::Binding bindings[] = {shard.buffer, shard.scales_or_any(), tokens, y.buffer};
    recorder.dispatch(pipeline_, gpu::as_params(params), bindings, {divide_up(chunks, kWorkgroup), count, 1});
  }
}

}  // namespace cria::kernels
