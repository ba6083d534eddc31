#include "kernels/matmul_matrix.h"

#include <algorithm>
#include <span>

#include "kernels/matmul_parts.h"

namespace cria::kernels {
namespace {

struct Params {
  uint32_t rows, tokens, y_stride, first_row;
};

constexpr uint32_t kChunkBytes = 16;
/// Up to this many tokens, weights are read once, and reading them is what takes time.
constexpr uint32_t kFewTokens = 64;
/// Up to this many, there are too few tiles for all cores, unless the columns are shared out.
constexpr uint32_t kSomeTokens = 128;

/// Bytes of the shader's array `tiles`.
uint32_t memory_bytes(const MatMulCut& cut) {
  const uint32_t tile = (cut.tile_tokens + cut.tile_rows) * (cut.depth / kChunk + 1);
  const uint32_t strips = cut.subgroups() * cut.shape.m * (cut.sub_rows / 4 + 1);
  return kChunkBytes * std::max(cut.buffers * tile, strips);
}

uint32_t workgroup_size(const gpu::DeviceInfo& device, const MatMulCut& cut) {
  return cut.subgroups() * device.subgroup_max_size;
}

constexpr uint32_t kMaxSplits = 16;
constexpr uint32_t kJoinWorkgroup = 64;

/// Elements of what matmul_join.wgsl adds up.
uint64_t parts_size_of(const MatMulSpec& spec, const MatMulCut& cut) {
  return cut.splits > 1 ? uint64_t{cut.splits} * spec.tokens * spec.rows : 0;
}

/// Loads of x, and of W, that the shader has names for.
constexpr uint32_t kMostLoads = 4;

/// How many matrices the shader has names for.
bool has_names(uint32_t count) { return count == 1 || count == 2 || count == 4; }

/// Whether the shader has names for what an invocation reads of x and W in a step.
bool can_load(const gpu::DeviceInfo& device, const MatMulSpec& spec, const MatMulCut& cut) {
  const uint32_t piece_columns = !is_quantised(spec.format.type)         ? kChunk
                                 : spec.format.type == WeightType::kInt8 ? 16
                                                                         : 32;
  const uint32_t size = workgroup_size(device, cut);
  return divide_up(cut.tile_tokens * cut.depth / kChunk, size) <= kMostLoads &&
         divide_up(cut.tile_rows * cut.depth / piece_columns, size) <= kMostLoads;
}

}  // namespace

std::string MatMulSpec::name() const {
  return fmt::format("{} tokens: {}, {} x {}{}{}", tokens, weight_format_name(format), rows, columns,
                     has_bias ? ", bias" : "",
                     output == MatVecOutput::kAdd      ? ", add"
                     : output == MatVecOutput::kSwiGlu ? ", swiglu"
                                                       : "");
}

std::string MatMulCut::name() const {
  return fmt::format("{} x {} by {} x {}, {} x {} deep, {}x{}x{}{}", tile_tokens, tile_rows, sub_tokens, sub_rows,
                     buffers, depth, shape.m, shape.n, shape.k, splits > 1 ? fmt::format(", {} parts", splits) : "");
}

bool MatrixMatMul::supports(const gpu::DeviceInfo& device, const WeightFormat& format) {
  return !candidate_cuts(device, {.format = format, .tokens = 2 * kSomeTokens, .columns = kChunk}).empty();
}

bool MatrixMatMul::is_valid_cut(const gpu::DeviceInfo& device, const MatMulSpec& spec, const MatMulCut& cut) {
  const auto divides = [](uint32_t part, uint32_t whole) { return part != 0 && whole != 0 && whole % part == 0; };
  return spec.format.type != WeightType::kF32 && device.features.f16 &&
         std::ranges::find(device.matrix_shapes, cut.shape) != device.matrix_shapes.end() &&
         divides(cut.shape.m, cut.sub_tokens) && divides(cut.shape.n, cut.sub_rows) && divides(4, cut.shape.n) &&
         has_names(cut.sub_tokens / cut.shape.m) && has_names(cut.sub_rows / cut.shape.n) &&
         divides(cut.sub_tokens, cut.tile_tokens) && divides(cut.sub_rows, cut.tile_rows) &&
         divides(kChunk, cut.shape.k) && divides(cut.shape.k, cut.depth) && divides(32, cut.depth) &&
         (cut.buffers == 1 || cut.buffers == 2) && cut.splits >= 1 && cut.splits <= kMaxSplits &&
         parts_size_of(spec, cut) <= kMaxPartsSize && parts_size_of(spec, cut) * 4 <= device.limits.max_binding_bytes &&
         can_load(device, spec, cut) && memory_bytes(cut) <= device.limits.max_workgroup_memory_bytes &&
         workgroup_size(device, cut) <= device.limits.max_workgroup_invocations;
}

std::vector<MatMulCut> MatrixMatMul::candidate_cuts(const gpu::DeviceInfo& device, const MatMulSpec& spec) {
  static constexpr MatMulCut kCuts[] = {
      {{16, 16, 16}, 128, 128, 64, 32, 64, 1}, {{16, 16, 16}, 64, 64, 32, 32, 64, 1},
      {{16, 16, 16}, 128, 128, 32, 64, 64, 1}, {{16, 16, 16}, 128, 128, 32, 32, 64, 1},
      {{16, 16, 16}, 64, 128, 32, 32, 64, 1},  {{16, 16, 16}, 64, 64, 32, 16, 64, 1},
      {{16, 16, 16}, 64, 64, 32, 16, 128, 1},  {{16, 16, 16}, 128, 256, 64, 64, 32, 1},
      {{16, 16, 16}, 128, 64, 32, 32, 64, 1},  {{16, 8, 16}, 128, 128, 64, 32, 64, 1},
      {{16, 8, 16}, 128, 192, 64, 32, 64, 1},  {{16, 8, 16}, 192, 128, 64, 32, 64, 1},
      {{8, 8, 8}, 64, 64, 32, 32, 32, 1},      {{16, 8, 8}, 64, 64, 32, 32, 32, 1},
  };
  // For a few tokens: narrow tiles, so that there are enough of them to read the weights as fast as memory gives them.
  static constexpr MatMulCut kFewCuts[] = {
      {{16, 16, 16}, 32, 32, 16, 16, 128, 1},     {{16, 16, 16}, 32, 128, 32, 16, 64, 1},
      {{16, 16, 16}, 32, 32, 16, 16, 128, 1, 2},  {{16, 16, 16}, 32, 32, 16, 16, 128, 1, 4},
      {{16, 16, 16}, 32, 128, 32, 16, 64, 1, 4},  {{16, 16, 16}, 32, 128, 32, 16, 64, 1, 8},
      {{16, 16, 16}, 32, 128, 32, 16, 64, 1, 16}, {{16, 16, 16}, 32, 64, 16, 32, 128, 1, 4},
      {{16, 16, 16}, 32, 64, 16, 32, 128, 1, 8},  {{16, 16, 16}, 16, 64, 16, 16, 128, 1, 4},
      {{16, 16, 16}, 16, 128, 16, 16, 64, 1, 8},  {{16, 16, 16}, 64, 64, 32, 16, 128, 1, 4},
      {{8, 8, 8}, 16, 32, 16, 16, 32, 1},         {{16, 8, 8}, 16, 32, 16, 16, 64, 1},
  };
  static constexpr MatMulCut kSomeCuts[] = {
      {{16, 16, 16}, 64, 64, 32, 32, 64, 1},      {{16, 16, 16}, 128, 64, 32, 32, 64, 1},
      {{16, 16, 16}, 128, 128, 64, 32, 64, 1},    {{16, 16, 16}, 64, 128, 32, 32, 64, 1},
      {{16, 16, 16}, 64, 64, 32, 32, 64, 1, 2},   {{16, 16, 16}, 128, 64, 32, 32, 64, 1, 2},
      {{16, 16, 16}, 128, 64, 32, 32, 64, 1, 4},  {{16, 16, 16}, 128, 128, 64, 32, 64, 1, 2},
      {{16, 16, 16}, 128, 128, 64, 32, 64, 1, 4}, {{16, 16, 16}, 128, 32, 32, 16, 64, 1},
      {{16, 8, 16}, 128, 128, 64, 32, 64, 1},     {{8, 8, 8}, 64, 64, 32, 32, 32, 1},
      {{16, 8, 8}, 64, 64, 32, 32, 32, 1},
  };
  // A CPU compiles small tiles faster.
  static constexpr MatMulCut kSmallCuts[] = {
      {{8, 8, 8}, 16, 32, 8, 16, 32, 1}, {{8, 8, 8}, 16, 32, 8, 16, 32, 2, 3}, {{16, 16, 16}, 32, 32, 16, 16, 32, 2}};
  const auto valid_ones = [&](std::span<const MatMulCut> candidates) {
    std::vector<MatMulCut> cuts;
    std::ranges::copy_if(candidates, std::back_inserter(cuts),
                         [&](const MatMulCut& cut) { return is_valid_cut(device, spec, cut); });
    return cuts;
  };
  if (device.is_software()) return valid_ones(kSmallCuts);
  std::vector<MatMulCut> cuts;
  if (spec.tokens <= kSomeTokens)
    cuts = valid_ones(spec.tokens <= kFewTokens ? std::span<const MatMulCut>(kFewCuts) : kSomeCuts);
  // Those for many tokens have no parts, so that they are the same for all sizes: what supports() goes by.
  return cuts.empty() ? valid_ones(kCuts) : cuts;
}

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
                                    .constant("WORKGROUP_SIZE", workgroup_size(info, op.cut_))
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

uint64_t MatrixMatMul::parts_size() const { return parts_size_of(spec_, cut_); }

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
