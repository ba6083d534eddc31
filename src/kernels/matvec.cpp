#include "kernels/matvec.h"

#include <algorithm>
#include <bit>

namespace cria::kernels {
namespace {

struct Params {
  uint32_t rows, tokens, y_stride, first_row;
  float epsilon;
  uint32_t pages_per_slot;
  uint32_t pad[2];
};

/// Whether two rows, which alternate, are finished together.
bool makes_pairs(MatVecOutput output) { return output == MatVecOutput::kSwiGlu || output == MatVecOutput::kRopeKv; }

constexpr uint32_t kBindings = 6;
constexpr uint32_t kRopeBindings = 11;  // with those of matvec_put_rope.wgsl

constexpr uint32_t kUnit = 32;       // UNIT in matvec_blocks.wgsl
constexpr uint32_t kLineBytes = 64;  // of a CPU's cache, which are as many chunks of 8 weights of one bit
/// Workgroup memory beyond this is not used, so that several workgroups fit on a core.
constexpr uint32_t kStageBytes = 32768;

constexpr uint32_t kUnitBytes = kUnit + 8 + 4;  // of x in workgroup memory; its squares count without a norm, too

uint32_t memory_budget(const gpu::Limits& limits) { return std::min(limits.max_workgroup_memory_bytes, kStageBytes); }

/// Of team_shared.wgsl and matvec_output.wgsl, and what it takes to align five arrays to 16 bytes.
uint32_t reserved_bytes(const MatVecCut& cut, uint32_t tokens) {
  return 64 + cut.workgroup_size * (4 + (cut.rows + 1) * tokens);
}

/// Whether a cut leaves workgroup memory for a unit of x at least.
bool fits(const gpu::Limits& limits, const MatVecCut& cut, uint32_t tokens) {
  return reserved_bytes(cut, tokens) + tokens * kUnitBytes <= memory_budget(limits);
}

/// Units of x that fit in workgroup memory for `tokens` tokens, all columns if possible.
uint32_t stage_units(const gpu::Limits& limits, uint32_t columns, const MatVecCut& cut, uint32_t tokens) {
  const uint32_t budget = memory_budget(limits) - reserved_bytes(cut, tokens);
  return std::min(divide_up(columns, kUnit), budget / (tokens * kUnitBytes));
}

/// Most words that an invocation of matvec_kept.wgsl has of x and W: registers, on any GPU.
constexpr uint32_t kKeptWords = 256;
/// Of cuts worth measuring: with more, a core holds too few subgroups.
constexpr uint32_t kGoodKeptWords = 160;

/// Pieces of a row that each lane of matvec_kept.wgsl has.
uint32_t kept_depth(const MatVecSpec& spec, const MatVecCut& cut) {
  return divide_up(divide_up(spec.columns, kChunk), cut.lanes);
}

/// Words that an invocation of matvec_kept.wgsl has of x, of W, twice, and of sums.
uint32_t kept_words(const MatVecSpec& spec, const MatVecCut& cut, uint32_t tokens) {
  const uint32_t w_words = kChunk * weight_type_bits(spec.format.type) / 32;
  return kept_depth(spec, cut) * (tokens * kChunk + 2 * cut.rows * w_words) + cut.rows * tokens;
}

/// Whether matvec_kept.wgsl has room for so many tokens.
bool keeps(const gpu::Limits& limits, const MatVecSpec& spec, const MatVecCut& cut, uint32_t tokens) {
  return !is_quantised(spec.format.type) && kept_words(spec, cut, tokens) <= kKeptWords &&
         cut.workgroup_size * (4 + (2 * cut.rows + 1) * tokens) <= memory_budget(limits);
}

Result<gpu::Pipeline> build(gpu::Device& device, const MatVecSpec& spec, const MatVecCut& cut, uint32_t tokens) {
  const std::string_view shader = matvec_shader(spec.format, cut);
  SpecBuilder builder(device, shader);
  if (shader == "matvec_blocks") {
    const uint32_t units = stage_units(device.limits(), spec.columns, cut, tokens);
    builder.blocks(spec.format).module("rounded_bytes").constant("STAGE_UNITS", units);
    builder.constant("STAGES", divide_up(divide_up(spec.columns, kUnit), units));
  } else {
    builder.weights(spec.format).module("x_chunks");
  }
  if (shader == "matvec_rows") {
    builder.constant("LINE_CHUNKS", kLineBytes / weight_type_bits(spec.format.type));
  } else if (shader == "matvec_kept") {
    builder.constant("LANES", cut.lanes).constant("DEPTH", kept_depth(spec, cut));
  } else {
    builder.constant("DEPTH", cut.depth);
  }
  const bool turns = spec.output == MatVecOutput::kRopeKv;
  if (turns) {
    builder.element(spec.heads.cache == KvType::kF16)
        .module("matvec_put_rope")
        .constant("HEADS", spec.heads.heads)
        .constant("KV_HEADS", spec.heads.kv_heads)
        .constant("HEAD_DIM", spec.heads.head_dim)
        .constant("PAGE_SIZE", kPageSize);
  } else {
    builder.module("matvec_put");
  }
  return builder.teams(cut.workgroup_size)
      .module("product_output")
      .module("matvec_output")
      .module("matvec_teams")
      .constant("COLUMNS", spec.columns)
      .constant("ROW_COUNT", spec.rows)
      .bias(spec.has_bias)
      .norm(spec.has_norm, 5)
      .constant("OUTPUT", static_cast<uint32_t>(spec.output))
      .constant("ROWS", cut.rows)
      .constant("TOKENS", tokens)
      .constant("SPLIT", cut.split)
      .suffix(fmt::format("{}{}{}", spec.has_norm ? "_norm" : "", output_suffix(spec.output),
                          tokens > 1 ? fmt::format("_x{}", tokens) : ""))
      .build(device,
             fmt::format("r{}r{}{}w{}", is_quantised(spec.format.type) ? 'r' : '-', spec.has_bias ? 'r' : '-',
                         spec.has_norm ? 'r' : '-', turns ? "wwrrr" : ""),
             sizeof(Params));
}

/// Sets of rows that a workgroup makes at a time.
uint32_t row_sets(const MatVecCut& cut, uint32_t team) {
  if (cut.split == 0) return cut.workgroup_size;
  if (cut.lanes > 0) return cut.workgroup_size / cut.lanes;
  const uint32_t teams = std::max(1U, cut.workgroup_size / team);
  return teams / std::min(cut.split, teams);
}

/// The lanes of a row in matvec_kept.wgsl are a multiple of it: every team fits in.
uint32_t lane_step(const gpu::Device& device) {
  return std::max(largest_team(device, device.features().subgroups), kSharedTeam);
}

/// A cut of matvec_kept.wgsl for any number of columns.
struct KeptCut {
  uint32_t depth = 1;  // chunks of each lane
  uint32_t rows = 1;
  uint32_t sets = 1;  // of lanes in a workgroup
  uint32_t workgroups = 0;
};

/// The cuts of matvec_kept.wgsl that are worth measuring.
std::vector<MatVecCut> kept_cuts(const gpu::Device& device, const MatVecSpec& spec) {
  // Of some 80 tried on matrices of 1 to 8 billion parameters' models, those that were the fastest for one of them.
  static constexpr KeptCut kCuts[] = {{2, 2, 2, 528}, {2, 2, 2, 264}, {2, 2, 1, 528}, {2, 2, 1, 264}, {2, 2, 1, 132},
                                      {2, 2, 1, 0},   {4, 1, 4, 264}, {4, 1, 4, 132}, {4, 1, 2, 264}, {4, 2, 2, 264}};
  std::vector<MatVecCut> cuts;
  for (const KeptCut& kept : kCuts) {
    const uint32_t lanes = round_up(divide_up(divide_up(spec.columns, kChunk), kept.depth), lane_step(device));
    const MatVecCut cut{
        .workgroup_size = kept.sets * lanes, .rows = kept.rows, .lanes = lanes, .workgroups = kept.workgroups};
    const bool is_good = cut.workgroup_size >= 128 && kept_words(spec, cut, 1) <= kGoodKeptWords;
    if (is_good && is_valid_cut(device, spec, cut)) cuts.push_back(cut);
  }
  return cuts;
}

}  // namespace

bool MatVec::supports(const gpu::Device& device, const StepHeads& heads) {
  const bool has_type = heads.cache == KvType::kF32 || (heads.cache == KvType::kF16 && device.features().f16);
  return has_type && heads.head_dim % 2 == 0 && device.limits().max_storage_buffers >= kRopeBindings;
}

std::string_view output_suffix(MatVecOutput output) {
  switch (output) {
    case MatVecOutput::kStore: return "";
    case MatVecOutput::kAdd: return "_add";
    case MatVecOutput::kSwiGlu: return "_swiglu";
    case MatVecOutput::kRopeKv: return "_rope_kv";
  }
  return "";
}

std::string MatVecSpec::name() const {
  const auto end = [&]() -> std::string {
    switch (output) {
      case MatVecOutput::kStore: return "";
      case MatVecOutput::kAdd: return ", add";
      case MatVecOutput::kSwiGlu: return ", swiglu";
      case MatVecOutput::kRopeKv: return fmt::format(", rope, {} cache", kv_type_name(heads.cache));
    }
    return "";
  };
  return fmt::format("{}, {} x {}{}{}{}", weight_format_name(format), rows, columns, has_bias ? ", bias" : "",
                     has_norm ? ", norm" : "", end());
}

bool MatVecSpec::serves(const Matrix& weight) const {
  const bool has_heads = output != MatVecOutput::kRopeKv || std::ranges::all_of(weight.shards, [&](const auto& shard) {
                           return shard.first_row % heads.head_dim == 0 && shard.rows % heads.head_dim == 0;
                         });
  return weight.format == format && weight.columns == columns && has_heads &&
         (rows == 0 || (weight.shards.size() == 1 && weight.rows == rows)) && weight.bias.valid() == has_bias;
}

std::string_view matvec_shader(const WeightFormat& format, const MatVecCut& cut) {
  if (cut.split == 0) return "matvec_rows";
  if (cut.lanes > 0) return "matvec_kept";
  return is_quantised(format.type) ? "matvec_blocks" : "matvec";
}

MatVecCut default_cut(const gpu::Device& device, const MatVecSpec& spec) {
  // A CPU compiles and runs small workgroups faster.
  if (device.info().is_software()) return {.workgroup_size = 32, .rows = 2, .split = 0};
  const uint32_t size = std::min(MatVecCut().workgroup_size, device.limits().max_workgroup_invocations);
  // Floats are read as fast as memory gives them when teams share rows; the rows of quantised weights are short, and
  // summing up costs more than it saves.
  if (is_quantised(spec.format.type)) return {.workgroup_size = size, .rows = 2, .split = 1, .depth = 2};
  return {.workgroup_size = size, .rows = 4, .split = 4, .depth = 1};
}

bool is_valid_cut(const gpu::Device& device, const MatVecSpec& spec, const MatVecCut& cut) {
  const auto is_power = [](uint32_t value, uint32_t most) { return std::has_single_bit(value) && value <= most; };
  if (cut.workgroup_size < 32 || cut.workgroup_size % 32 != 0 ||
      cut.workgroup_size > device.limits().max_workgroup_invocations || !is_power(cut.rows, 8) ||
      !is_power(cut.depth, 8) || (makes_pairs(spec.output) && cut.rows % 2 != 0)) {
    return false;
  }
  if (cut.split == 0) return cut.lanes == 0;
  if (!is_power(cut.split, 32)) return false;
  if (cut.lanes == 0) return fits(device.limits(), cut, 1);
  return cut.lanes % lane_step(device) == 0 && cut.workgroup_size % cut.lanes == 0 &&
         keeps(device.limits(), spec, cut, 1);
}

std::vector<MatVecCut> candidate_cuts(const gpu::Device& device, const MatVecSpec& spec) {
  // Of some 80 tried on matrices of 1 to 8 billion parameters' models, those that were the fastest for one of them.
  static constexpr MatVecCut kFloats[] = {{128, 4, 4, 1}, {512, 4, 4, 1}, {128, 4, 8, 1}, {128, 4, 4, 2},
                                          {256, 2, 4, 1}, {128, 2, 4, 1}, {256, 1, 4, 1}, {512, 1, 4, 1},
                                          {512, 4, 1, 1}, {512, 4, 2, 1}};
  static constexpr MatVecCut kBlocks[] = {{256, 2, 1, 1}, {256, 4, 1, 1}, {256, 1, 1, 1}, {256, 1, 1, 2},
                                          {512, 1, 1, 2}, {512, 1, 1, 4}, {512, 2, 1, 2}, {512, 2, 1, 1},
                                          {512, 2, 2, 1}, {512, 4, 2, 1}, {768, 1, 1, 2}};
  std::vector<MatVecCut> cuts = {default_cut(device, spec)};
  if (device.info().is_software()) {  // where compiling takes longer than any choice is worth
    cuts.push_back({.workgroup_size = 64, .rows = 4, .split = 0});
    return cuts;
  }
  const std::span<const MatVecCut> tried =
      is_quantised(spec.format.type) ? std::span<const MatVecCut>(kBlocks) : kFloats;
  for (const MatVecCut& cut : tried) {
    if (is_valid_cut(device, spec, cut)) cuts.push_back(cut);
  }
  std::ranges::copy(kept_cuts(device, spec), std::back_inserter(cuts));
  return cuts;
}

Result<MatVec> MatVec::create(gpu::Device& device, const MatVecSpec& spec, uint32_t max_tokens,
                              std::optional<MatVecCut> cut) {
  MatVec op;
  op.spec_ = spec;
  const MatVecCut wanted = cut.value_or(default_cut(device, spec));
  CRIA_CHECK(is_valid_cut(device, spec, wanted));
  const uint32_t team = largest_team(device, device.features().subgroups);
  op.grid_limit_ = device.limits().max_workgroups_per_dimension;
  for (uint32_t tokens = 1; tokens <= std::min(max_tokens, kMaxTokens); tokens *= 2) {
    Variant variant{.pipeline = {}, .cut = wanted, .sets = 1};
    if (wanted.lanes > 0 && !keeps(device.limits(), spec, wanted, tokens)) variant.cut = default_cut(device, spec);
    if (variant.cut.lanes == 0 && !fits(device.limits(), variant.cut, tokens)) break;  // fewer at once, then
    variant.sets = row_sets(variant.cut, team);
    CRIA_TRY_ASSIGN(variant.pipeline, build(device, spec, variant.cut, tokens));
    op.variants_.push_back(std::move(variant));
  }
  return op;
}

void MatVec::record(gpu::Recorder& recorder, const Matrix& weight, const Activation& x,
                    const std::optional<NormOperand>& norm, const Activation& y, uint32_t tokens,
                    const std::optional<RopeKvOperand>& rope) const {
  CRIA_CHECK(spec_.serves(weight) && x.columns == weight.columns && norm.has_value() == spec_.has_norm &&
             rope.has_value() == (spec_.output == MatVecOutput::kRopeKv));
  size_t index = 0;
  while (index + 1 < variants_.size() && (1U << index) < tokens) ++index;
  const Variant& variant = variants_[index];
  for (const Matrix::Shard& shard : weight.shards) {
    const gpu::Buffer& bias = weight.bias.valid() ? weight.bias : shard.buffer;
    const gpu::Buffer& norm_weight = norm ? norm->weight : shard.buffer;
    const gpu::Binding bindings[] = {shard.buffer,
                                     shard.scales_or_any(),
                                     x.buffer,
                                     bias,
                                     norm_weight,
                                     y.buffer,
                                     rope ? rope->layer.keys : y.buffer,
                                     rope ? rope->layer.values : y.buffer,
                                     rope ? gpu::Binding(rope->cos_sin) : y.buffer,
                                     rope ? gpu::Binding(rope->batch.token_info) : y.buffer,
                                     rope ? rope->batch.page_table : y.buffer};
    const Params params{.rows = shard.rows,
                        .tokens = tokens,
                        .y_stride = y.stride(),
                        .first_row = shard.first_row,
                        .epsilon = norm ? norm->epsilon : 0,
                        .pages_per_slot = rope ? rope->batch.pages_per_slot : 0,
                        .pad = {}};
    uint32_t workgroups = divide_up(divide_up(shard.rows, variant.cut.rows), variant.sets);
    if (variant.cut.workgroups > 0) workgroups = std::min(workgroups, variant.cut.workgroups);
    recorder.dispatch(variant.pipeline, gpu::as_params(params),
                      std::span(bindings).first(rope ? kRopeBindings : kBindings),
                      folded_grid(grid_limit_, workgroups, divide_up(tokens, 1U << index)));
  }
}

}  // namespace cria::kernels
