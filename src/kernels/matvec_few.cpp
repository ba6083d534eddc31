#include "kernels/matvec_few.h"

#include <algorithm>
#include <bit>

namespace cria::kernels {
namespace {

constexpr uint32_t kUnit = 32;
/// Invocations that quantise 8 columns each of a token, where the device allows as many.
constexpr uint32_t kQuantiseWorkgroup = 512;
constexpr uint32_t kRows = 2;  // that matvec_few.wgsl makes together
/// Least lanes of a team: each ends with the sum of one row and token.
constexpr uint32_t kLeastTeam = kRows * MatVecFew::kMaxTokens;

struct QuantiseParams {
  uint32_t columns, x_stride;
  float epsilon;
  uint32_t pad;
};
struct Params {
  uint32_t rows, tokens, y_stride, first_row, pad[4];
};

uint32_t quantise_workgroup(const gpu::Device& device) {
  return std::min(kQuantiseWorkgroup, device.limits().max_workgroup_invocations);
}

SpecBuilder quantise_spec(const gpu::Device& device, bool has_norm) {
  return SpecBuilder(device, "x_blocks")
      .module("rounded_bytes")
      .teams(quantise_workgroup(device))
      .suffix(has_norm ? "_norm" : "");
}

/// Whether teams are subgroups.
bool in_subgroups(const gpu::Device& device) {
  return device.features().subgroups && device.info().subgroup_min_size >= kLeastTeam;
}

SpecBuilder few_spec(const gpu::Device& device, const MatVecSpec& spec, uint32_t workgroup_size, uint32_t tokens) {
  return SpecBuilder(device, "matvec_few")
      .blocks(spec.format)
      .teams(workgroup_size, in_subgroups(device))
      .suffix(fmt::format("{}_x{}", output_suffix(spec.output), tokens));
}

}  // namespace

Result<BlockActivation> BlockActivation::create(gpu::Device& device, std::string_view label, uint32_t columns,
                                                uint32_t tokens) {
  const auto scratch = [&](std::string_view what, uint64_t row_bytes) {
    return device.create_buffer(fmt::format("{}: {}", label, what), tokens * row_bytes, gpu::MemoryKind::kScratch);
  };
  BlockActivation blocks;
  CRIA_TRY_ASSIGN(blocks.integers, scratch("integers", integer_bytes(columns)));
  CRIA_TRY_ASSIGN(blocks.scales, scratch("scales", scale_bytes(columns)));
  return blocks;
}

Result<XBlocks> XBlocks::create(gpu::Device& device) {
  XBlocks op;
  op.workgroup_ = quantise_workgroup(device);
  const auto build = [&](bool has_norm) {
    return quantise_spec(device, has_norm)
        .norm(has_norm, 2)
        .build(device, has_norm ? "rrww" : "r-ww", sizeof(QuantiseParams));
  };
  CRIA_TRY_ASSIGN(op.plain_, build(false));
  CRIA_TRY_ASSIGN(op.normed_, build(true));
  return op;
}

std::string XBlocks::kernel_name(const gpu::Device& device, bool has_norm) {
  return quantise_spec(device, has_norm).name();
}

void XBlocks::record(gpu::Recorder& recorder, const Activation& x, const std::optional<NormOperand>& norm,
                     const BlockActivation& y, uint32_t tokens) const {
  CRIA_CHECK(y.integers.size_bytes() >= tokens * BlockActivation::integer_bytes(x.columns) &&
             y.scales.size_bytes() >= tokens * BlockActivation::scale_bytes(x.columns));
  const QuantiseParams params{
      .columns = x.columns, .x_stride = x.stride() / 4, .epsilon = norm ? norm->epsilon : 0, .pad = 0};
  const gpu::Binding bindings[] = {x.buffer, norm ? norm->weight : x.buffer, y.integers, y.scales};
  const uint32_t workgroups = norm ? 1 : divide_up(divide_up(x.columns, kUnit) * 4, workgroup_);
  recorder.dispatch(norm ? normed_ : plain_, gpu::as_params(params), bindings, {workgroups, tokens, 1});
}

std::vector<MatVecCut> MatVecFew::candidate_cuts(const gpu::Device& device, const MatVecSpec& spec) {
  /// Cuts for any number of columns: sets of lanes in a workgroup, and workgroups.
  static constexpr std::pair<uint32_t, uint32_t> kCuts[] = {{1, 528}, {1, 396}, {1, 264}, {2, 264}, {1, 0}};
  const uint32_t lanes = round_up(divide_up(spec.columns, kUnit), largest_team(device, in_subgroups(device)));
  std::vector<MatVecCut> cuts;
  for (const auto& [sets, workgroups] : kCuts) {
    if (device.info().is_software() && !cuts.empty()) break;  // compiling takes longer than any choice is worth
    const MatVecCut cut{.workgroup_size = sets * lanes, .rows = kRows, .lanes = lanes, .workgroups = workgroups};
    if (is_valid_cut(device, spec, cut)) cuts.push_back(cut);
  }
  return cuts;
}

bool MatVecFew::is_valid_cut(const gpu::Device& device, const MatVecSpec& spec, const MatVecCut& cut) {
  if (!is_quantised(spec.format.type) || cut.rows != kRows || cut.lanes == 0 || cut.workgroup_size % cut.lanes != 0) {
    return false;
  }
  const uint32_t team = largest_team(device, in_subgroups(device));
  const uint32_t sums = 2 * kRows * kMaxTokens * (cut.workgroup_size / kLeastTeam);
  return cut.lanes % team == 0 && cut.lanes >= divide_up(spec.columns, kUnit) &&
         cut.workgroup_size <= device.limits().max_workgroup_invocations &&
         (sums + cut.workgroup_size) * 4 <= device.limits().max_workgroup_memory_bytes;
}

Result<MatVecFew> MatVecFew::create(gpu::Device& device, const MatVecSpec& spec, uint32_t max_tokens,
                                    std::optional<MatVecCut> cut) {
  MatVecFew op;
  op.spec_ = spec;
  op.cut_ = cut ? *cut : candidate_cuts(device, spec).front();
  CRIA_CHECK(is_valid_cut(device, spec, op.cut_));
  const uint32_t min_team = in_subgroups(device) ? device.info().subgroup_min_size : kSharedTeam;
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  for (uint32_t tokens = kMinTokens; tokens <= std::max(std::min(std::bit_ceil(max_tokens), kMaxTokens), kMinTokens);
       tokens *= 2) {
    CRIA_TRY_ASSIGN(gpu::Pipeline pipeline, few_spec(device, spec, op.cut_.workgroup_size, tokens)
                                                .module("product_output")
                                                .module("matvec_output")
                                                .module("matvec_put")
                                                .constant("COLUMNS", spec.columns)
                                                .constant("ROW_COUNT", spec.rows)
                                                .bias(spec.has_bias)
                                                .constant("OUTPUT", static_cast<uint32_t>(spec.output))
                                                .constant("ROWS", kRows)
                                                .constant("TOKENS", tokens)
                                                .constant("LANES", op.cut_.lanes)
                                                .constant("MIN_TEAM", min_team)
                                                .build(device, spec.has_bias ? "rrrrrw" : "rrr-rw", sizeof(Params)));
    op.pipelines_.push_back(std::move(pipeline));
  }
  return op;
}

std::string MatVecFew::kernel_name(const gpu::Device& device, const MatVecSpec& spec, uint32_t tokens) {
  return few_spec(device, spec, kSharedTeam, tokens).name();
}

void MatVecFew::record(gpu::Recorder& recorder, const Matrix& weight, const BlockActivation& x, const Activation& y,
                       uint32_t tokens) const {
  CRIA_CHECK(spec_.serves(weight));
  size_t index = 0;
  while (index + 1 < pipelines_.size() && (kMinTokens << index) < tokens) ++index;
  for (const Matrix::Shard& shard : weight.shards) {
    const gpu::Buffer& bias = weight.bias.valid() ? weight.bias : shard.buffer;
    const gpu::Binding bindings[] = {shard.buffer, shard.scales, x.integers, bias, x.scales, y.buffer};
    const Params params{
        .rows = shard.rows, .tokens = tokens, .y_stride = y.stride(), .first_row = shard.first_row, .pad = {}};
    uint32_t workgroups = divide_up(divide_up(shard.rows, kRows), cut_.workgroup_size / cut_.lanes);
    if (cut_.workgroups > 0) workgroups = std::min(workgroups, cut_.workgroups);
    recorder.dispatch(pipelines_[index], gpu::as_params(params), bindings,
                      folded_grid(grid_limit_, workgroups, divide_up(tokens, kMinTokens << index)));
  }
}

}  // namespace cria::kernels
