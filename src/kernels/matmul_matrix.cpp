#include "kernels/matmul_matrix.h"

namespace cria::kernels {
namespace {

struct Params {
  uint32_t rows, tokens, y_stride, first_row;
};

constexpr uint32_t kJoinWorkgroup = 64;

}  // namespace

Result<MatrixMatMul> MatrixMatMul::create(gpu::Device& device, const MatMulSpec& spec, std::optional<MatMulCut> cut) {
  MatrixMatMul op;
  const gpu::DeviceInfo& info = device.info();
  if (!cut) {
    const std::vector<MatMulCut> cuts = candidate_cuts(info, spec);
    CRIA_CHECK(!cuts.empty());
    cut = cuts.front();
  }
  CRIA_CHECK(is_valid_cut(info, spec, *cut));
  op.spec_ = spec;
  op.cut_ = *cut;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  const bool is_split = op.cut_.splits > 1;
  CRIA_TRY_ASSIGN(op.pipeline_, SpecBuilder(device, "matmul_matrix")
                                    .matrices(op.cut_.shape)
                                    .halves(spec.format)
                                    .element(!is_split && spec.output == MatVecOutput::kSwiGlu)
                                    .module("product_output")
                                    .module("matmul_output")
                                    .constant("COLUMNS", spec.columns)
                                    .constant("HAS_BIAS", spec.has_bias)
                                    .constant("OUTPUT", static_cast<uint32_t>(spec.output))
                                    .constant("TILE_TOKENS", op.cut_.tile_tokens)
                                    .constant("TILE_ROWS", op.cut_.tile_rows)
                                    .constant("SUB_TOKENS", op.cut_.sub_tokens)
                                    .constant("SUB_ROWS", op.cut_.sub_rows)
                                    .constant("DEPTH", op.cut_.depth)
                                    .constant("BUFFERS", op.cut_.buffers)
                                    .constant("SPLITS", op.cut_.splits)
                                    .constant("SLICES", op.cut_.slices)
                                    .constant("AHEAD", op.cut_.ahead)
                                    .constant("WORKGROUP_SIZE", op.cut_.workgroup_size(info))
                                    .suffix(is_split ? "_parts" : output_suffix(spec.output))
                                    .build(device, "rrrrw", sizeof(Params)));
  if (!is_split) return op;
  CRIA_TRY_ASSIGN(op.join_, SpecBuilder(device, "matmul_join")
                                .element(spec.output == MatVecOutput::kSwiGlu)
                                .module("product_output")
                                .module("matmul_output")
                                .constant("HAS_BIAS", spec.has_bias)
                                .constant("OUTPUT", static_cast<uint32_t>(spec.output))
                                .constant("SPLITS", op.cut_.splits)
                                .constant("WORKGROUP_SIZE", kJoinWorkgroup)
                                .suffix(output_suffix(spec.output))
                                .build(device, "rrw", sizeof(Params)));
  return op;
}

uint64_t MatrixMatMul::parts_size() const { return cut_.parts_size(spec_); }

void MatrixMatMul::record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x, const Activation& y,
                          uint32_t tokens, const gpu::Buffer& parts) const {
  CRIA_CHECK(weight.format == spec_.format && weight.columns == spec_.columns && x.columns == weight.columns &&
             x.is_half && y.is_half == (spec_.output == MatVecOutput::kSwiGlu) &&
             weight.bias.valid() == spec_.has_bias);
  const bool is_split = cut_.splits > 1;
  CRIA_CHECK(!is_split || (tokens <= spec_.tokens && weight.rows <= spec_.rows));
  for (const Matrix::Shard& shard : weight.shards) {
    const gpu::Buffer& bias = weight.bias.valid() ? weight.bias : shard.buffer;
    const gpu::Buffer& target = is_split ? parts : y.buffer;
    const gpu::Binding bindings[] = {shard.buffer, shard.scales_or_any(), x.buffer, bias, target};
    const Params params{.rows = shard.rows, .tokens = tokens, .y_stride = y.stride(), .first_row = shard.first_row};
    const uint32_t tiles = divide_up(shard.rows, cut_.tile_rows) * divide_up(tokens, cut_.tile_tokens);
    recorder.dispatch(pipeline_, gpu::as_params(params), bindings, folded_grid(grid_limit_, tiles, cut_.splits));
    if (!is_split) continue;
    const gpu::Binding joined[] = {parts, bias, y.buffer};
    const uint32_t elements = shard.rows / (spec_.output == MatVecOutput::kSwiGlu ? 2 : 1);
    recorder.dispatch(join_, gpu::as_params(params), joined, {divide_up(elements, kJoinWorkgroup), tokens, 1});
  }
}

}  // namespace cria::kernels
