// Which cuts of the work MatrixMatMul may use, and which of them are worth measuring.
#include <algorithm>
#include <span>

#include "kernels/matmul_matrix.h"
#include "kernels/matmul_parts.h"

namespace cria::kernels {
namespace {

constexpr uint32_t kChunkBytes = 16;
/// Up to this many tokens, there are few tiles for all cores, and reading the weights takes most of the time.
constexpr uint32_t kFewTokens = 128;

/// Bytes of the shader's array `tiles`.
uint32_t memory_bytes(const MatMulCut& cut) {
  const uint32_t tile = (cut.tile_tokens + cut.tile_rows) * (cut.depth / kChunk + 1);
  const uint32_t strips = cut.subgroups() * cut.shape.m * (cut.sub_rows / 4 + 1);
  return kChunkBytes * std::max(cut.buffers * tile, strips);
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
  const uint32_t size = cut.workgroup_size(device);
  return divide_up(cut.tile_tokens * cut.depth / kChunk, size) <= kMostLoads &&
         divide_up(cut.tile_rows * cut.depth / piece_columns, size) <= kMostLoads;
}

constexpr gpu::MatrixShape kWide{16, 16, 16}, kNarrow{16, 8, 16}, kFlat{16, 8, 8}, kSmall{8, 8, 8};

// Each: matrices, tile_tokens x tile_rows by sub_tokens x sub_rows, depth, buffers, splits, slices, ahead. Those with
// slices or ahead were the fastest for some product of a model of 8B or 1.1B on an NVIDIA H100; the others once were, or
// are for devices that can do less and were not measured there.
constexpr MatMulCut kCutsOfMany[] = {
    {kWide, 128, 128, 64, 32, 64},
    {kWide, 64, 64, 32, 32, 64},
    {kWide, 128, 128, 32, 64, 64},
    {kWide, 128, 128, 32, 32, 64},
    {kWide, 64, 128, 32, 32, 64},
    {kWide, 64, 64, 32, 16, 128},
    {kWide, 128, 256, 64, 64, 32},
    {kWide, 128, 64, 32, 32, 64},
    {kNarrow, 128, 128, 64, 32, 64},
    {kNarrow, 128, 128, 64, 32, 64, 1, 1, 2},
    {kNarrow, 128, 128, 64, 32, 64, 1, 1, 2, 2},
    {kNarrow, 128, 192, 64, 32, 64},
    {kNarrow, 128, 192, 64, 32, 64, 1, 1, 1, 2},
    {kNarrow, 192, 128, 64, 32, 64},
    {kNarrow, 192, 128, 64, 32, 64, 1, 1, 1, 2},
    {kSmall, 64, 64, 32, 32, 32},
    {kFlat, 64, 64, 32, 32, 32},
};

// For few tokens there must be enough tiles for all cores, and enough subgroups on each of them, to read the weights as
// fast as memory gives them: so tiles have few rows, or columns are shared out.
constexpr MatMulCut kCutsOf16[] = {
    {kWide, 16, 64, 16, 16, 128, 1, 1, 2, 2},
    {kWide, 16, 64, 16, 16, 128, 1, 4, 2, 2},
    {kNarrow, 16, 64, 16, 32, 128, 1, 1, 4, 2},
    {kWide, 16, 112, 16, 16, 128, 1, 1, 2, 2},
    {kWide, 16, 128, 16, 16, 128, 1, 4, 2, 2},
    {kWide, 16, 64, 16, 64, 256, 1, 2, 8, 2},
    {kWide, 16, 48, 16, 16, 256, 1, 1, 4, 2},
    {kWide, 16, 32, 16, 32, 256, 1, 1, 8, 2},
    {kWide, 16, 16, 16, 16, 256, 1, 1, 4, 2},
    {kWide, 16, 64, 16, 16, 128, 1, 4},
    {kWide, 16, 64, 16, 16, 128},
    {kWide, 16, 128, 16, 16, 64},
    {kSmall, 16, 32, 16, 16, 32},
    {kFlat, 16, 32, 16, 16, 64},
};
constexpr MatMulCut kCutsOf32[] = {
    {kWide, 32, 128, 32, 16, 64},
    {kWide, 32, 128, 32, 16, 64, 1, 4},
    {kWide, 32, 128, 32, 16, 64, 1, 8},
    {kWide, 32, 128, 32, 32, 128, 1, 1, 4, 2},
    {kWide, 32, 128, 32, 32, 128, 1, 4, 4, 2},
    {kWide, 32, 128, 32, 32, 64, 1, 1, 2, 2},
    {kNarrow, 32, 128, 16, 32, 128, 1, 1, 2, 2},
    {kWide, 32, 128, 16, 32, 128, 1, 4, 2, 2},
    {kWide, 32, 112, 32, 16, 128, 1, 1, 2, 2},
    {kWide, 32, 224, 32, 32, 64, 1, 1, 2, 2},
    {kWide, 32, 48, 32, 16, 256, 1, 1, 4, 2},
    {kNarrow, 32, 32, 16, 32, 256, 1, 1, 8, 2},
    {kWide, 32, 32, 32, 16, 256, 1, 1, 4, 2},
    {kWide, 32, 32, 16, 16, 128},
    {kWide, 32, 32, 16, 16, 128, 1, 2},
    {kSmall, 16, 32, 16, 16, 32},
    {kFlat, 16, 32, 16, 16, 64},
};
constexpr MatMulCut kCutsOf64[] = {
    {kWide, 64, 64, 32, 16, 128},
    {kWide, 64, 64, 32, 16, 128, 1, 4},
    {kWide, 64, 64, 32, 32, 128, 1, 2, 2, 2},
    {kWide, 64, 64, 32, 32, 128, 1, 4, 4, 2},
    {kWide, 64, 64, 64, 32, 128, 1, 2, 4, 2},
    {kNarrow, 64, 64, 32, 32, 128, 1, 1, 4, 2},
    {kNarrow, 64, 64, 32, 32, 64, 1, 1, 2, 2},
    {kNarrow, 64, 112, 64, 16, 128, 1, 1, 2, 2},
    {kWide, 64, 128, 64, 32, 64, 1, 1, 4, 2},
    {kWide, 64, 128, 32, 32, 64, 1, 4, 2, 2},
    {kNarrow, 64, 128, 32, 32, 64, 1, 1, 2, 2},
    {kWide, 64, 48, 16, 16, 128, 1, 1, 1, 2},
    {kWide, 32, 128, 32, 16, 64},
    {kWide, 32, 128, 32, 16, 64, 1, 8},
    {kSmall, 16, 32, 16, 16, 32},
    {kFlat, 16, 32, 16, 16, 64},
};

constexpr MatMulCut kCutsOf128[] = {
    {kWide, 64, 64, 32, 32, 64},
    {kWide, 128, 64, 32, 32, 64},
    {kWide, 128, 128, 64, 32, 64},
    {kWide, 64, 128, 32, 32, 64},
    {kWide, 128, 64, 32, 32, 64, 1, 2},
    {kWide, 128, 64, 32, 32, 64, 1, 4},
    {kWide, 128, 64, 64, 32, 64, 1, 2, 4, 2},
    {kWide, 128, 32, 32, 32, 128, 1, 1, 4, 2},
    {kWide, 128, 128, 64, 32, 64, 1, 1, 2, 2},
    {kNarrow, 128, 128, 64, 32, 64, 1, 1, 2, 2},
    {kWide, 128, 128, 64, 32, 64, 1, 2, 2, 2},
    {kWide, 128, 128, 64, 32, 64, 1, 4, 2, 2},
    {kNarrow, 128, 128, 64, 32, 64},
    {kSmall, 64, 64, 32, 32, 32},
    {kFlat, 64, 64, 32, 32, 32},
};

// A CPU compiles small tiles faster.
constexpr MatMulCut kSmallCuts[] = {
    {kSmall, 16, 32, 8, 16, 32},
    {kSmall, 16, 32, 8, 16, 32, 2, 3, 1, 2},
    {kSmall, 8, 32, 8, 8, 128, 1, 1, 4, 2},
    {kWide, 32, 32, 16, 16, 32, 2},
};

}  // namespace

std::string MatMulSpec::name() const {
  return fmt::format("{} tokens: {}, {} x {}{}{}", tokens, weight_format_name(format), rows, columns,
                     has_bias ? ", bias" : "",
                     output == MatVecOutput::kAdd      ? ", add"
                     : output == MatVecOutput::kSwiGlu ? ", swiglu"
                                                       : "");
}

std::string MatMulCut::name() const {
  return fmt::format("{} x {} by {} x {}, {} x {} deep, {}x{}x{}{}{}{}", tile_tokens, tile_rows, sub_tokens, sub_rows,
                     buffers, depth, shape.m, shape.n, shape.k, splits > 1 ? fmt::format(", {} parts", splits) : "",
                     slices > 1 ? fmt::format(", {} slices", slices) : "", ahead > 1 ? ", 2 ahead" : "");
}

bool MatrixMatMul::supports(const gpu::DeviceInfo& device, const WeightFormat& format) {
  return !candidate_cuts(device, {.format = format, .tokens = 2 * kFewTokens, .columns = kChunk}).empty();
}

bool MatrixMatMul::is_valid_cut(const gpu::DeviceInfo& device, const MatMulSpec& spec, const MatMulCut& cut) {
  const auto divides = [](uint32_t part, uint32_t whole) { return part != 0 && whole != 0 && whole % part == 0; };
  return spec.format.type != WeightType::kF32 && device.features.f16 &&
         std::ranges::find(device.matrix_shapes, cut.shape) != device.matrix_shapes.end() &&
         divides(cut.shape.m, cut.sub_tokens) && divides(cut.shape.n, cut.sub_rows) && divides(4, cut.shape.n) &&
         has_names(cut.sub_tokens / cut.shape.m) && has_names(cut.sub_rows / cut.shape.n) &&
         divides(cut.sub_tokens, cut.tile_tokens) && divides(cut.sub_rows, cut.tile_rows) &&
         divides(kChunk, cut.shape.k) && divides(cut.shape.k, cut.depth) && divides(32, cut.depth) &&
         divides(cut.slices * cut.shape.k, cut.depth) && (cut.ahead == 1 || cut.ahead == 2) &&
         (cut.buffers == 1 || cut.buffers == 2) && cut.splits >= 1 &&
         cut.parts_size(spec) <= most_parts_size(spec.rows) &&
         cut.parts_size(spec) * 4 <= device.limits.max_binding_bytes && can_load(device, spec, cut) &&
         memory_bytes(cut) <= device.limits.max_workgroup_memory_bytes &&
         cut.workgroup_size(device) <= device.limits.max_workgroup_invocations;
}

std::vector<MatMulCut> MatrixMatMul::candidate_cuts(const gpu::DeviceInfo& device, const MatMulSpec& spec) {
  const auto valid_ones = [&](std::span<const MatMulCut> candidates) {
    std::vector<MatMulCut> cuts;
    std::ranges::copy_if(candidates, std::back_inserter(cuts),
                         [&](const MatMulCut& cut) { return is_valid_cut(device, spec, cut); });
    return cuts;
  };
  if (device.is_software()) return valid_ones(kSmallCuts);
  const auto of_tokens = [&]() -> std::span<const MatMulCut> {
    if (spec.tokens <= 16) return kCutsOf16;
    if (spec.tokens <= 32) return kCutsOf32;
    if (spec.tokens <= 64) return kCutsOf64;
    if (spec.tokens <= kFewTokens) return kCutsOf128;
    return kCutsOfMany;
  };
  const std::vector<MatMulCut> cuts = valid_ones(of_tokens());
  // Those for many tokens have no parts, so that they are the same for all sizes: what supports() goes by.
  return cuts.empty() ? valid_ones(kCutsOfMany) : cuts;
}

}  // namespace cria::kernels
