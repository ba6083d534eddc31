// Cases of matvec, matvec_blocks, matvec_kept and matvec_rows: every weight format, with and without norm and bias,
// every end, and the work cut in many ways.
//
// A pipeline costs more than a dispatch, and each mixture of these is one or several. So not all mixtures run: one
// format of each kind has every pair of norm, bias and end, and the cuts are dealt out over formats and variants.
#include <algorithm>

#include "selftest/product_case.h"

namespace cria::selftest {
namespace {

using kernels::MatVec;
using kernels::MatVecCut;
using kernels::MatVecOutput;
using kernels::WeightFormat;

std::string describe(const ProductVariant& variant, const ProductShape& shape) {
  std::string text = fmt::format("rows {}, columns {}, tokens {}", shape.rows, shape.columns, shape.tokens);
  if (variant.bias) text += ", bias";
  if (shape.shards > 1) text += fmt::format(", {} shards", shape.shards);
  if (variant.max_tokens > 1) text += fmt::format(", up to {} at once", variant.max_tokens);
  if (!variant.cut) return text;
  const MatVecCut& cut = *variant.cut;
  if (cut.lanes > 0) {
    return text + fmt::format(", {} workgroups of {}, {} rows by {} lanes", cut.workgroups, cut.workgroup_size,
                              cut.rows, cut.lanes);
  }
  if (cut.split == 0) return text + fmt::format(", {} invocations, {} rows each", cut.workgroup_size, cut.rows);
  return text + fmt::format(", {} invocations, {} rows by {} teams, {} deep", cut.workgroup_size, cut.rows, cut.split,
                            cut.depth);
}

Result<CaseOutcome> run(Trial& trial, const WeightFormat& format, const ProductVariant& variant,
                        const ProductShape& shape) {
  CRIA_TRY_ASSIGN(const auto product, ProductCase::create(trial.device, trial.random, format, variant, shape));
  CRIA_TRY_ASSIGN(const auto op, MatVec::create(trial.device, product.spec, variant.max_tokens, variant.cut));
  gpu::Recorder recorder = trial.device.record("matvec");
  op.record(recorder, product.matrix, product.input, product.norm_operand(), product.output(), shape.tokens);
  CRIA_TRY(trial.submit(recorder));
  return product.check(trial.device, product.reference_product());
}

/// Ways to cut the work: fewer teams than share a row, teams left over, sets of rows that end in the middle.
constexpr MatVecCut kCuts[] = {
    {.workgroup_size = 32, .rows = 2, .split = 1, .depth = 1},
    {.workgroup_size = 64, .rows = 4, .split = 2, .depth = 2},
    {.workgroup_size = 128, .rows = 2, .split = 4, .depth = 4},
    {.workgroup_size = 256, .rows = 2, .split = 8, .depth = 1},
    {.workgroup_size = 96, .rows = 2, .split = 2, .depth = 2},
    {.workgroup_size = 32, .rows = 4, .split = 8, .depth = 1},
    {.workgroup_size = 256, .rows = 4, .split = 1, .depth = 4},
    {.workgroup_size = 160, .rows = 2, .split = 4, .depth = 1},
    {.workgroup_size = 64, .rows = 2, .split = 4, .depth = 4},
    {.workgroup_size = 256, .rows = 4, .split = 4, .depth = 2},
};
/// Of single rows, which SwiGLU does not allow.
constexpr MatVecCut kSingleRows[] = {
    {.workgroup_size = 256, .rows = 1, .split = 1, .depth = 1},
    {.workgroup_size = 128, .rows = 1, .split = 2, .depth = 4},
    {.workgroup_size = 32, .rows = 1, .split = 2, .depth = 2},
};

/// True for one format of each kind: the others differ in a decoder alone.
bool has_all_variants(const WeightFormat& format) {
  return format.type == kernels::WeightType::kF32 || format.block == 32;
}

/// The variants of format number `number`, with cuts of its own.
std::vector<ProductVariant> variants(const WeightFormat& format, size_t number) {
  const auto cut = [&](size_t index) { return kCuts[(3 * number + index) % std::size(kCuts)]; };
  const MatVecCut single = kSingleRows[number % std::size(kSingleRows)];
  using enum MatVecOutput;
  std::vector<ProductVariant> list = {
      {.norm = true, .bias = true, .output = kStore, .max_tokens = 1},
      {.norm = false, .bias = true, .output = kAdd, .max_tokens = 1, .cut = single},
      {.norm = true, .bias = false, .output = kSwiGlu, .max_tokens = 2, .cut = cut(0)},
  };
  if (!has_all_variants(format)) return list;
  list.push_back({.norm = false, .bias = false, .output = kStore, .max_tokens = 8, .cut = cut(3)});
  list.push_back({.norm = true, .bias = false, .output = kAdd, .max_tokens = 4, .cut = cut(1)});
  list.push_back({.norm = false, .bias = true, .output = kSwiGlu, .max_tokens = 4, .cut = cut(2)});
  return list;
}

/// Rows round the 1, 2 and 4 made together and the 8 of a workgroup's teams, columns round the 8 of a chunk and
/// the 32 of a unit. Quantised weights get a pipeline for each number of units, so few of those; K-quants have whole
/// super-blocks.
std::vector<std::pair<uint32_t, uint32_t>> sizes(const WeightFormat& format, size_t variant) {
  if (format.type == kernels::WeightType::kQ4_K) return {{1, 256}, {33, 256}, {10, 512}};
  if (kernels::is_k_quant(format.type)) return {{33, 256}, {10, 512}};
  if (!kernels::is_quantised(format.type)) {
    return {{1, 1}, {7, 9}, {8, 31}, {9, 7}, {31, 33}, {33, 8}, {5, 520}, {9, 1100}};
  }
  if (variant % 2 == 0) return {{1, 1}, {7, 9}, {8, 31}, {9, 7}, {31, 32}, {33, 8}};
  return {{1, 129}, {7, 160}, {33, 159}, {9, 150}};
}

/// Cuts of matvec_kept: sets that share a workgroup or fill it, one piece for a lane or several, and workgroups that
/// make one set of rows after the other.
std::vector<ProductVariant> kept_variants(const gpu::Device& device) {
  const uint32_t team = std::max(device.info().subgroup_max_size, 32U);
  const auto cut = [&](uint32_t sets, uint32_t teams, uint32_t rows, uint32_t workgroups) {
    const uint32_t lanes = teams * team;
    return MatVecCut{.workgroup_size = sets * lanes, .rows = rows, .lanes = lanes, .workgroups = workgroups};
  };
  using enum MatVecOutput;
  return {
      {.norm = true, .bias = true, .output = kStore, .max_tokens = 2, .cut = cut(2, 1, 2, 1)},
      {.norm = false, .bias = false, .output = kAdd, .max_tokens = 1, .cut = cut(1, 4, 1, 3)},
      {.norm = true, .bias = false, .output = kSwiGlu, .max_tokens = 4, .cut = cut(2, 2, 4, 2)},
      {.norm = false, .bias = true, .output = kSwiGlu, .max_tokens = 1, .cut = cut(4, 1, 2, 0)},
  };
}

/// Cuts of matvec_rows: subgroups that are left over, rows that end in the middle of a lane's.
std::vector<ProductVariant> row_variants(const WeightFormat& format) {
  using enum MatVecOutput;
  std::vector<ProductVariant> list = {{.norm = true,
                                       .bias = true,
                                       .output = kStore,
                                       .max_tokens = 2,
                                       .cut = MatVecCut{.workgroup_size = 32, .split = 0}}};
  if (!has_all_variants(format)) return list;
  const MatVecCut many{.workgroup_size = 64, .rows = 4, .split = 0};
  list.push_back({.norm = false, .bias = false, .output = kAdd, .max_tokens = 4, .cut = many});
  list.push_back({.norm = true, .bias = false, .output = kSwiGlu, .max_tokens = 1, .cut = many});
  return list;
}

/// How quantised weights are cut on most devices.
constexpr MatVecCut kBlocksCut = {.workgroup_size = 256, .rows = 2, .split = 1, .depth = 2};

}  // namespace

void add_matvec_cases(const gpu::Device& device, std::vector<Case>& cases) {
  const auto add = [&](const WeightFormat& format, const ProductVariant& variant, const ProductShape& shape) {
    const uint64_t bytes =
        std::max(activation_bytes(shape.tokens, shape.rows), activation_bytes(shape.tokens, shape.columns));
    cases.push_back({.kernel = matvec_kernel_name(device, format, variant, shape.tokens),
                     .shape = describe(variant, shape),
                     .binding_bytes = bytes,
                     .body = [=](Trial& trial) { return run(trial, format, variant, shape); }});
  };
  const std::vector<WeightFormat> formats = weight_formats();
  for (size_t f = 0; f < formats.size(); ++f) {
    uint32_t index = 0;
    for (const ProductVariant& variant : variants(formats[f], f)) {
      const size_t number = index + f;
      for (const auto& [rows, columns] : sizes(formats[f], number)) {
        const bool pairs = variant.output == MatVecOutput::kSwiGlu;
        const uint32_t shards = std::min(1 + index % 3, rows);
        // Up to and beyond what one pipeline takes at once, and numbers that are no powers of two.
        const uint32_t tokens = 1 + (index * 5 + rows) % (variant.max_tokens + 3);
        add(formats[f], variant, {pairs ? round_up(rows, 2U) : rows, columns, tokens, shards});
        ++index;
      }
    }
  }
  uint32_t kept = 0;
  for (const WeightFormat& format : formats) {
    if (kernels::is_quantised(format.type)) continue;
    for (const ProductVariant& variant : kept_variants(device)) {
      for (const auto& [rows, columns] : {std::pair(1U, 9U), std::pair(33U, 520U), std::pair(70U, 129U)}) {
        // One format of each kind has all shapes, the others one for each variant.
        if (!has_all_variants(format) && columns != 520) continue;
        const bool pairs = variant.output == MatVecOutput::kSwiGlu;
        const uint32_t tokens = 1 + kept++ % (variant.max_tokens + 1);
        add(format, variant, {pairs ? round_up(rows, 2U) : rows, columns, tokens, std::min(rows, 1 + kept % 2)});
      }
    }
  }
  for (const WeightFormat& format : formats) {
    uint32_t index = 0;
    for (const ProductVariant& variant : row_variants(format)) {
      const auto all_sizes = sizes(format, 0);
      const auto& [rows, columns] = all_sizes[index % all_sizes.size()];
      const auto& [more_rows, more_columns] = all_sizes.back();
      for (const auto& [r, c] :
           {std::pair(round_up(rows, 2U), columns), std::pair(round_up(70 + more_rows, 2U), more_columns)}) {
        add(format, variant, {r, c, 1 + index % (variant.max_tokens + 1), 1 + index % 2});
        ++index;
      }
    }
  }
  // More columns than fit into workgroup memory at once.
  const ProductVariant many{.norm = true, .max_tokens = 8, .cut = MatVecCut{.rows = 4, .split = 4, .depth = 2}};
  add({kernels::WeightType::kInt8, 64}, many, {5, 2000, 7, 1});
  add({kernels::WeightType::kInt4, 32}, many, {5, 2000, 8, 2});
  const ProductVariant plain{.bias = true, .cut = kBlocksCut};
  const ProductVariant gated{.norm = true, .output = MatVecOutput::kSwiGlu, .cut = kBlocksCut};
  add({kernels::WeightType::kInt4, 32}, plain, {3, 26000, 1, 1});
  add(kernels::WeightType::kQ4_K, plain, {3, 26112, 1, 1});
  add({kernels::WeightType::kInt8, 128}, gated, {4, 26000, 1, 1});
  // The same, small enough for a binding of 64 KiB.
  add({kernels::WeightType::kInt4, 32}, plain, {3, 40, 1, 1});
  add({kernels::WeightType::kInt8, 128}, gated, {4, 40, 1, 1});
  if (!device.info().is_software()) {
    // More workgroups than one dimension of a grid holds. In software it takes too long: a test lowers the limit.
    add(kernels::WeightType::kF32, {.bias = true}, {16 * 65535 + 3, 2, 1, 1});
  }
}

}  // namespace cria::selftest
