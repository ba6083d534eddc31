// Every kernel against its reference, with each feature masked; and that the harness reports what is wrong.
#include "selftest/selftest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>

#include "kernels/embedded.h"

namespace cria::selftest {
namespace {

gpu::Device open_device(const gpu::DeviceOptions& options) {
  auto device = gpu::Device::open(options);
  if (!device) ADD_FAILURE() << device.error().message();
  CRIA_CHECK(device.has_value());
  return *std::move(device);
}

gpu::Device open_masked(const gpu::FeatureSet& mask) {
  gpu::DeviceOptions options;
  options.disabled = mask;
  return open_device(options);
}

/// CRIA_TEST_FULL=1 runs every case.
bool is_full() {
  const char* value = std::getenv("CRIA_TEST_FULL");
  return value != nullptr && std::string_view(value) == "1";
}

void expect_all_right(gpu::Device& device, std::vector<Case> cases) {
  if (!is_full()) std::erase_if(cases, [](const Case& one) { return one.is_extra; });
  run_cases(device, cases, [](const KernelReport& report) {
    EXPECT_EQ(report.failed, 0) << report.kernel << " with " << report.failure;
    EXPECT_LE(report.worst, 1) << report.kernel;
  });
}

std::set<std::string> kernels_with(const gpu::FeatureSet& mask) { return kernels_of(all_cases(open_masked(mask))); }

/// The cases that no earlier of kMasks had: without a feature, the others use the same pipelines again.
std::vector<Case> cases_of_mask(const gpu::Device& device, size_t mask) {
  std::set<std::string> known;
  for (size_t earlier = 0; earlier < mask; ++earlier) {
    for (const Case& one : all_cases(open_masked(kMasks[earlier]))) known.insert(one.kernel + " " + one.shape);
  }
  std::vector<Case> cases = all_cases(device);
  std::erase_if(cases, [&](const Case& one) { return known.contains(one.kernel + " " + one.shape); });
  return cases;
}

/// One of kMasks, by index.
class Masks : public testing::TestWithParam<size_t> {};

TEST_P(Masks, EveryKernelAgreesWithItsReference) {
  gpu::Device device = open_masked(kMasks[GetParam()]);
  const std::vector<Case> cases = cases_of_mask(device, GetParam());
  if (cases.empty()) GTEST_SKIP() << "this device has no kernel of its own for these features";
  expect_all_right(device, cases);
}

INSTANTIATE_TEST_SUITE_P(SelfTest, Masks, testing::Range<size_t>(0, std::size(kMasks)), [](const auto& info) {
  std::string name = "Without_" + gpu::feature_names(kMasks[info.param]);
  std::replace_if(name.begin(), name.end(), [](unsigned char letter) { return std::isalnum(letter) == 0; }, '_');
  return name;
});

/// Small bindings cut weights into shards, small grids fold them into a second dimension.
TEST(SelfTest, EveryKernelAgreesWithItsReferenceUnderLowLimits) {
  gpu::DeviceOptions options;
  options.binding_limit = 200 * 1024;  // of the shapes that are cut, every kernel has some that fit
  options.grid_limit = 3;
  gpu::Device device = open_device(options);
  EXPECT_EQ(kernels_of(all_cases(device)), kernels_with({})) << "every kernel has shapes that fit";
  expect_all_right(device, all_cases(device));
}

/// Where subgroups may differ in size, products do not count on one. One type of weights for each shader is enough.
TEST(SelfTest, ProductsAgreeWithTheirReferencesWhereSubgroupsMayDiffer) {
  gpu::DeviceOptions options;
  options.subgroup_min_limit = 1;
  gpu::Device device = open_device(options);
  if (!device.features().subgroups) GTEST_SKIP() << "this device has no subgroups";
  std::vector<Case> cases = all_cases(device);
  std::erase_if(cases, [](const Case& one) {
    return !one.kernel.starts_with("matvec_blocks_int8_") && !one.kernel.starts_with("matvec_f16_") &&
           !one.kernel.starts_with("matvec_kept_f16_");
  });
  EXPECT_FALSE(cases.empty());
  expect_all_right(device, cases);
}

/// The registry is complete: who adds a shader or a type of weights is told to add cases.
TEST(SelfTest, EveryShaderHasCases) {
  std::set<std::string> kernels;
  for (const gpu::FeatureSet& mask : kMasks) kernels.merge(kernels_with(mask));
  const auto is_tested = [&](const std::string& part, bool whole_name) {
    return std::any_of(kernels.begin(), kernels.end(), [&](const std::string& kernel) {
      const size_t at = (kernel + "_").find(part + "_");
      return whole_name ? at == 0 : at != std::string::npos;
    });
  };
  for (const kernels::EmbeddedShader& shader : kernels::embedded_shaders()) {
    const std::string name(shader.name);
    if (!shader.source.starts_with("// Module:") && shader.source.find("@compute") != std::string_view::npos) {
      // Cases are named after the last of their kernels.
      EXPECT_TRUE(is_tested(name == "argmax_slices" ? "argmax_join" : name, true))
          << name << ".wgsl has no case in src/selftest";
    }
    // A device without f16 has weights_f16_packed only, so that of a pair one name is enough. The names of other
    // modules are no part of a kernel's; whoever picks them gives the kernel a name of its own.
    if (name.starts_with("weights_") && open_masked({}).features().f16) {
      EXPECT_TRUE(is_tested(name.substr(7), false)) << name << ".wgsl has no case in src/selftest";
    }
  }
}

TEST(SelfTest, ACaseHasTheSameDataWheneverItRuns) {
  gpu::Device device = open_masked({});
  const std::vector<Case> cases = all_cases(device);
  const auto found = std::find_if(cases.begin(), cases.end(), [](const Case& one) {
    return one.kernel.starts_with("matvec_f16") && one.shape.find("columns 1100") != std::string::npos;
  });
  ASSERT_NE(found, cases.end());
  const auto first = found->run(device);
  const auto second = found->run(device);
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(first->worst, second->worst);
  EXPECT_GT(first->worst, 0) << "rounding shows";
}

TEST(SelfTest, NoTwoCasesHaveTheSameName) {
  std::set<std::string> names;
  for (const Case& one : all_cases(open_masked({}))) {
    EXPECT_TRUE(names.insert(one.kernel + " " + one.shape).second) << one.kernel << " " << one.shape;
  }
}

TEST(SelfTest, ReportsTheFirstFailureAndTheWorstErrorOfAKernel) {
  gpu::Device device = open_masked({});
  const auto gives = [](const std::string& kernel, const std::string& shape, const Result<CaseOutcome>& outcome) {
    return Case{.kernel = kernel, .shape = shape, .body = [outcome](Trial&) { return outcome; }};
  };
  const std::vector<Case> cases = {
      gives("good", "size 1", CaseOutcome{.worst = 0.25, .failure = {}}),
      gives("good", "size 2", CaseOutcome{.worst = 0.5, .failure = {}}),
      gives("wrong", "size 1", CaseOutcome{.worst = 0.5, .failure = {}}),
      gives("wrong", "size 2", CaseOutcome{.worst = 3, .failure = "y[0, 1] is 2"}),
      gives("wrong", "size 3", CaseOutcome{.worst = 2, .failure = "y[0, 2] is 2"}),
      gives("broken", "size 1", fail(ErrorCode::kDevice, "shader broken: no")),
  };
  std::vector<KernelReport> reports;
  run_cases(device, cases, [&](const KernelReport& report) { reports.push_back(report); });
  ASSERT_EQ(reports.size(), 3);
  EXPECT_EQ(reports[0].shapes, 2);
  EXPECT_EQ(reports[0].failed, 0);
  EXPECT_EQ(reports[0].worst, 0.5);
  EXPECT_EQ(reports[1].failed, 2);
  EXPECT_EQ(reports[1].worst, 3);
  EXPECT_EQ(reports[1].failure, "size 2: y[0, 1] is 2");
  EXPECT_EQ(reports[2].failed, 1);
  EXPECT_EQ(reports[2].failure, "size 1: shader broken: no");
}

/// A kernel that must write [[1, 2, 3], [4, 5, 6]] with a tolerance of 0.5, and leave the padding alone.
class Harness : public testing::TestWithParam<Element> {
 protected:
  Harness() {
    for (size_t i = 0; i < 6; ++i) {
      expectation_.set(i / 3, i % 3, value(i), 0.5);
      written_.set(i / 3, i % 3, value(i));
    }
  }
  static double value(size_t i) { return static_cast<double>(i) + 1; }
  [[nodiscard]] CaseOutcome outcome() const { return compare("y", before_, written_.words(), expectation_); }

  Image before_{GetParam(), Poison::kOutput, 2, 4};
  Image written_ = before_;
  Expectation expectation_{before_};
};
INSTANTIATE_TEST_SUITE_P(SelfTest, Harness, testing::Values(Element::kF32, Element::kF16, Element::kBF16),
                         [](const auto& info) { return std::string(kernels::weight_type_name(info.param)); });

TEST_P(Harness, PassesWhatIsRight) {
  EXPECT_TRUE(outcome().ok()) << outcome().failure;
  EXPECT_EQ(outcome().worst, 0);
  written_.set(1, 1, 5.25);
  EXPECT_TRUE(outcome().ok());
  EXPECT_EQ(outcome().worst, 0.5) << "a quarter is half of the tolerance";
}

TEST_P(Harness, ReportsAWrongValue) {
  written_.set(1, 1, 5.75);
  EXPECT_EQ(outcome().failure, "y[1, 1] is 5.75 instead of 5 (tolerance 0.5)");
  EXPECT_EQ(outcome().worst, 1.5);
}

TEST_P(Harness, ReportsNanAndInfinity) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    written_.set(0, 2, bad);
    EXPECT_TRUE(outcome().failure.starts_with("y[0, 2] is ")) << outcome().failure;
    EXPECT_TRUE(std::isinf(outcome().worst));
  }
}

TEST_P(Harness, ReportsAForgottenElement) {
  Image forgotten = before_;
  for (size_t i = 0; i < 5; ++i) forgotten.set(i / 3, i % 3, value(i));
  written_ = forgotten;
  EXPECT_TRUE(outcome().failure.starts_with("y[1, 2] is nan")) << outcome().failure;
}

TEST_P(Harness, ReportsAWrittenSentinel) {
  written_.set(0, 3, 0);
  EXPECT_TRUE(outcome().failure.starts_with("y[0, 3] was written")) << outcome().failure;
  EXPECT_TRUE(std::isinf(outcome().worst));
}

TEST_P(Harness, ReportsASentinelOverwrittenWithAnInputsPoison) {
  written_.set(0, 3, Image(GetParam(), Poison::kInput, 1, 1).get(0, 0));  // NaN, but other bits
  EXPECT_TRUE(outcome().failure.starts_with("y[0, 3] was written")) << outcome().failure;
}

TEST_P(Harness, ReportsAWriteBehindTheEnd) {
  written_.set(2 + 4, 1, 1);
  EXPECT_TRUE(outcome().failure.starts_with("y[6, 1] was written")) << outcome().failure;
}

TEST_P(Harness, AToleranceThatIsNoNumberPassesNothing) {
  for (const double tolerance : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    expectation_.set(0, 0, 1, tolerance);
    EXPECT_FALSE(outcome().ok());
  }
}

TEST_P(Harness, WithoutToleranceNoDifferencePasses) {
  expectation_.set(1, 1, 5.0078125, 0);
  EXPECT_FALSE(outcome().ok());
  expectation_.set(1, 1, 5, 0);
  EXPECT_TRUE(outcome().ok());
}

TEST(HarnessWords, ReportsTheFirstWordThatDiffers) {
  EXPECT_TRUE(compare_words("tokens", std::vector<uint32_t>{1, 2}, std::vector<uint32_t>{1, 2}).ok());
  EXPECT_EQ(compare_words("tokens", std::vector<uint32_t>{1, 2, 3}, std::vector<uint32_t>{1, 7, 8}).failure,
            "tokens[1] is 7 instead of 2");
}

/// The same on the GPU: a kernel that does not do what the case says.
TEST(HarnessOnTheGpu, ReportsAKernelThatForgetsOverwritesOrIsAnother) {
  gpu::Device device = open_masked({});
  Target target = *Target::create(device, "y", Image(Element::kF32, Poison::kOutput, 1, 3));
  Expectation expectation(target.before);
  for (size_t i = 0; i < 3; ++i) expectation.set(0, i, 1, 0);
  EXPECT_TRUE(target.check(device, expectation)->failure.starts_with("y[0, 0] is nan")) << "nothing was written";
  const float ones[] = {1, 1, 1, 1};
  ASSERT_TRUE(device.write(target.buffer, 0, std::as_bytes(std::span(ones, 3))).has_value());
  EXPECT_TRUE(target.check(device, expectation)->ok());
  ASSERT_TRUE(device.write(target.buffer, 0, std::as_bytes(std::span(ones, 4))).has_value());
  EXPECT_TRUE(target.check(device, expectation)->failure.starts_with("y[1, 0] was written"));

  const std::string name = "matmul_f32";
  const Trial trial{.device = device, .kernel = name, .random = Random(name)};
  gpu::Recorder recorder = device.record("nothing");
  const Status status = trial.submit(recorder);
  ASSERT_FALSE(status.has_value());
  EXPECT_NE(status.error().message().find("where matmul_f32 was to be tested"), std::string::npos);
}

}  // namespace
}  // namespace cria::selftest
