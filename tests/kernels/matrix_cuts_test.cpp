// How products and attention on matrix units are cut, on devices that need not be here: what a GPU offers, its limits
// lowered.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/attention_matrix.h"
#include "kernels/matmul_parts.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::AttentionMatrix;
using kernels::MatMulCut;
using kernels::MatMulSpec;
using kernels::MatrixMatMul;
using kernels::WeightFormat;

/// Bytes of the bindings of the self-test under low limits.
constexpr uint64_t kLowBinding = 200ULL * 1024;

/// An H100 as WebGPU describes it.
gpu::DeviceInfo h100() {
  gpu::DeviceInfo info;
  info.name = "NVIDIA H100 80GB HBM3";
  info.type = "discrete GPU";
  info.features = {.f16 = true, .subgroups = true, .subgroup_matrix = true, .timestamps = true};
  info.limits.max_binding_bytes = (1ULL << 31) - 4;
  info.limits.max_workgroup_memory_bytes = 48 * 1024;
  info.limits.max_workgroup_invocations = 1024;
  info.limits.max_workgroups_per_dimension = 65535;
  info.subgroup_min_size = 32;
  info.subgroup_max_size = 32;
  info.matrix_shapes = {{16, 16, 16}, {16, 8, 16}, {16, 8, 8}};
  return info;
}

/// The same with less: what WebGPU promises of a workgroup, bindings of a test or hardly any, one shape of matrices.
std::vector<gpu::DeviceInfo> devices() {
  std::vector<gpu::DeviceInfo> all;
  for (const uint64_t binding_bytes : {uint64_t{4096}, kLowBinding, uint64_t{128} << 20}) {
    for (const uint32_t memory_bytes : {16U * 1024, 48U * 1024}) {
      for (const uint32_t invocations : {256U, 1024U}) {
        for (size_t shapes = 0; shapes <= 3; ++shapes) {  // all, or one of them
          gpu::DeviceInfo info = h100();
          info.limits.max_binding_bytes = binding_bytes;
          info.limits.max_workgroup_memory_bytes = memory_bytes;
          info.limits.max_workgroup_invocations = invocations;
          if (shapes > 0) info.matrix_shapes = {info.matrix_shapes[shapes - 1]};
          all.push_back(std::move(info));
        }
      }
    }
  }
  return all;
}

std::string describe(const gpu::DeviceInfo& info) {
  std::string text = fmt::format("bindings of {} bytes, {} bytes and {} invocations of a workgroup, matrices",
                                 info.limits.max_binding_bytes, info.limits.max_workgroup_memory_bytes,
                                 info.limits.max_workgroup_invocations);
  for (const gpu::MatrixShape& shape : info.matrix_shapes) text += fmt::format(" {}x{}x{}", shape.m, shape.n, shape.k);
  return text;
}

/// Whoever asks whether a format is supported may multiply matrices of any size.
TEST(MatrixCuts, WhereAFormatIsSupportedEveryProductHasACutThatFits) {
  size_t supported = 0;
  for (const gpu::DeviceInfo& info : devices()) {
    SCOPED_TRACE(describe(info));
    for (const WeightFormat& format : weight_formats()) {
      const bool is_supported = MatrixMatMul::supports(info, format);
      supported += is_supported ? 1 : 0;
      for (const uint32_t tokens : {1U, 16U, 33U, 64U, 65U, 128U, 129U, 2048U}) {
        for (const uint32_t rows : {2U, 4096U, 200000U}) {
          const MatMulSpec spec{.format = format, .rows = rows, .tokens = tokens, .columns = 4096};
          const std::vector<MatMulCut> cuts = MatrixMatMul::candidate_cuts(info, spec);
          EXPECT_EQ(cuts.empty(), !is_supported) << spec.name();
          for (const MatMulCut& cut : cuts) {
            EXPECT_TRUE(MatrixMatMul::is_valid_cut(info, spec, cut)) << spec.name() << ", " << cut.name();
            EXPECT_LE(4 * cut.parts_size(spec), info.limits.max_binding_bytes);
            EXPECT_LE(cut.parts_size(spec), kernels::most_parts_size(spec.rows)) << "what memory is planned for";
          }
        }
      }
    }
  }
  EXPECT_GT(supported, devices().size()) << "most of these devices support some formats";
}

TEST(MatrixCuts, ColumnsAreSharedOutWhereThePartsFit) {
  gpu::DeviceInfo info = h100();
  const MatMulSpec spec{.format = {kernels::WeightType::kInt8, 32}, .rows = 4096, .tokens = 32, .columns = 4096};
  const auto most_splits = [&] {
    return std::ranges::max(MatrixMatMul::candidate_cuts(info, spec), {}, &MatMulCut::splits).splits;
  };
  EXPECT_EQ(most_splits(), 8);
  info.limits.max_binding_bytes = uint64_t{4} * 4 * spec.tokens * spec.rows;
  EXPECT_EQ(most_splits(), 4);
  info.limits.max_binding_bytes -= 4;
  EXPECT_EQ(most_splits(), 2);
  info.limits.max_binding_bytes = kLowBinding;
  EXPECT_EQ(most_splits(), 1);
}

/// The self-test makes each of its products, so that each must fit.
TEST(MatrixCuts, TheSelfTestMultipliesOnlyWhatFits) {
  for (const gpu::DeviceInfo& info : devices()) {
    SCOPED_TRACE(describe(info));
    for (const MatrixProduct& product : matrix_products(info)) {
      EXPECT_TRUE(MatrixMatMul::is_valid_cut(info, product.spec, product.cut))
          << product.spec.name() << ", " << product.cut.name();
    }
  }
}

/// Under low limits it leaves out sizes, but no cut, format or output.
TEST(MatrixCuts, UnderLowLimitsTheSelfTestStillHasEveryKindOfProduct) {
  const auto kinds_of = [](const gpu::DeviceInfo& info) {
    std::set<std::string> kinds;
    for (const auto& [spec, shards, cut] : matrix_products(info)) {
      kinds.insert(fmt::format("{} {} {}", weight_format_name(spec.format), static_cast<int>(spec.output), cut.name()));
    }
    return kinds;
  };
  gpu::DeviceInfo low = h100();
  low.limits.max_binding_bytes = kLowBinding;
  EXPECT_EQ(kinds_of(low), kinds_of(h100()));
  EXPECT_LT(matrix_products(low).size(), matrix_products(h100()).size()) << "some have too many parts";
}

std::vector<uint32_t> heads_served(const gpu::DeviceInfo& info) {
  std::vector<uint32_t> heads;
  for (uint32_t head_dim = 1; head_dim <= kernels::kMaxHeadDim; ++head_dim) {
    if (AttentionMatrix::find_cut(info, head_dim)) heads.push_back(head_dim);
  }
  return heads;
}

TEST(AttentionCuts, HeadsAreServedAsFarAsMatricesAndMemoryReach) {
  gpu::DeviceInfo info = h100();
  info.matrix_shapes = {{16, 16, 16}};
  EXPECT_EQ(heads_served(info), (std::vector<uint32_t>{32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384}));
  info.limits.max_workgroup_memory_bytes = 32 * 1024;
  EXPECT_EQ(heads_served(info), (std::vector<uint32_t>{32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256}));
  info.limits.max_workgroup_memory_bytes = 16 * 1024;
  EXPECT_EQ(heads_served(info), std::vector<uint32_t>{});
  info = h100();
  info.subgroup_min_size = 16;
  EXPECT_EQ(heads_served(info), std::vector<uint32_t>{}) << "subgroups may be of either size";
}

/// Registers hold eight matrices of queries and of sums (attention_matrix.wgsl): longer heads are shared.
TEST(AttentionCuts, ASubgroupHasAtMostEightMatricesOfAHead) {
  for (const gpu::DeviceInfo& info : devices()) {
    SCOPED_TRACE(describe(info));
    for (const uint32_t head_dim : heads_served(info)) {
      SCOPED_TRACE(head_dim);
      const AttentionMatrix::Cut cut = AttentionMatrix::find_cut(info, head_dim).value();
      EXPECT_EQ(head_dim % (cut.splits * cut.shape.n), 0);
      const uint32_t matrices = head_dim / cut.splits / cut.shape.n;
      EXPECT_GE(matrices, 2);
      EXPECT_LE(matrices, 8);
      EXPECT_TRUE(cut.splits == 1 || head_dim / cut.shape.n > 8) << "no head is shared that need not be";
      EXPECT_EQ(cut.subgroups % cut.splits, 0);
      EXPECT_LE(cut.subgroups * info.subgroup_max_size, info.limits.max_workgroup_invocations);
    }
  }
}

TEST(AttentionCuts, TilesHaveAsManyQueriesAsSubgroupsHave) {
  const auto queries = [](uint32_t head_dim) { return AttentionMatrix::find_cut(h100(), head_dim).value().queries(); };
  EXPECT_EQ(queries(64), 64);
  EXPECT_EQ(queries(96), 64);
  EXPECT_EQ(queries(128), 64);
  EXPECT_EQ(queries(256), 32) << "two subgroups share a head";
}

}  // namespace
}  // namespace cria::selftest
