#include "model/tuning.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "temporary_folder.h"

namespace cria::model {
namespace {

using kernels::MatVecCut;

class TunerTest : public testing::Test {
 protected:
  TunerTest() : device_(gpu::Device::open({}).value()) {
    spec_ = {.format = kernels::WeightType::kF32, .rows = 24, .columns = 40, .has_norm = true};
    matrix_.format = spec_.format;
    matrix_.rows = spec_.rows;
    matrix_.columns = spec_.columns;
    matrix_.shards.push_back(
        {.buffer = device_.create_buffer("weights", 24ULL * 40 * 4, gpu::MemoryKind::kWeights).value(),
         .scales = {},
         .first_row = 0,
         .rows = spec_.rows});
  }
  MatVecCut choose(TuningMode mode) {
    Tuner tuner(device_, {.mode = mode, .file = file_});
    const kernels::Matrix* const matrices[] = {&matrix_};
    const MatVecCut cut = tuner.choose(spec_, matrices).value();
    tuner.save();
    return cut;
  }
  [[nodiscard]] std::string content() const {
    std::ostringstream text;
    text << std::ifstream(file_).rdbuf();
    return text.str();
  }

  TemporaryFolder folder_;
  std::filesystem::path file_ = folder_.path() / "below" / "tuning.json";
  gpu::Device device_;
  kernels::MatVecSpec spec_;
  kernels::Matrix matrix_;
};

TEST_F(TunerTest, MeasuresNothingUnlessAskedTo) {
  EXPECT_EQ(choose(TuningMode::kOff), kernels::default_cut(device_, spec_));
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(TunerTest, ChoosesACandidateAndRemembersIt) {
  const MatVecCut cut = choose(TuningMode::kRenew);
  const auto candidates = kernels::candidate_cuts(device_, spec_);
  EXPECT_NE(std::ranges::find(candidates, cut), candidates.end());
  EXPECT_NE(content().find(spec_.name()), std::string::npos) << content();
}

/// A part that is not kept is read as 0, which no cut has: everything would be measured at each start.
TEST_F(TunerTest, KeepsEachPartOfACut) {
  const kernels::MatMulSpec spec{.format = kernels::WeightType::kF16, .rows = 24, .tokens = 16, .columns = 40};
  const auto candidates = kernels::MatrixMatMul::candidate_cuts(device_.info(), spec);
  if (candidates.size() < 2) GTEST_SKIP() << "needs matrix units and a choice";
  matrix_.format = spec.format;
  Tuner tuner(device_, {.mode = TuningMode::kRenew, .file = file_});
  const kernels::Matrix* const matrices[] = {&matrix_};
  const kernels::MatMulCut cut = tuner.choose(spec, matrices).value();
  EXPECT_NE(std::ranges::find(candidates, cut), candidates.end());
  tuner.save();
  const auto devices = nlohmann::json::parse(content())["devices"];
  ASSERT_EQ(devices.size(), 1U);
  const auto expected = nlohmann::json{
      {"m", cut.shape.m},           {"n", cut.shape.n},
      {"k", cut.shape.k},           {"tile_tokens", cut.tile_tokens},
      {"tile_rows", cut.tile_rows}, {"sub_tokens", cut.sub_tokens},
      {"sub_rows", cut.sub_rows},   {"depth", cut.depth},
      {"buffers", cut.buffers},     {"splits", cut.splits},
      {"slices", cut.slices},       {"ahead", cut.ahead},
  };
  EXPECT_EQ(devices.front()[spec.name()], expected);
}

TEST_F(TunerTest, TakesADamagedFileForNone) {
  std::filesystem::create_directories(file_.parent_path());
  for (const char* text :
       {"", "{", "[1]", "{\"version\": 1}", "{\"version\": 1, \"devices\": 5}", "{\"version\": \"x\"}"}) {
    std::ofstream(file_) << text;
    choose(TuningMode::kRenew);
    EXPECT_NE(content().find(spec_.name()), std::string::npos) << text;
  }
}

TEST(Tuning, ModesHaveNames) {
  EXPECT_EQ(parse_tuning_mode("off").value(), TuningMode::kOff);
  EXPECT_EQ(parse_tuning_mode("renew").value(), TuningMode::kRenew);
  const auto wrong = parse_tuning_mode("maybe");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message().find("\"maybe\""), std::string::npos);
}

TEST(Tuning, CutsThatCannotBeBuiltAreNotTaken) {
  const gpu::Device device = gpu::Device::open({}).value();
  const kernels::MatVecSpec spec{
      .format = kernels::WeightType::kF32, .rows = 8, .columns = 8, .output = kernels::MatVecOutput::kSwiGlu};
  for (const MatVecCut& cut : {MatVecCut{.workgroup_size = 0, .rows = 2, .split = 1, .depth = 1},
                               MatVecCut{.workgroup_size = 1U << 20, .rows = 2, .split = 1, .depth = 1},
                               MatVecCut{.workgroup_size = 64, .rows = 3, .split = 1, .depth = 1},
                               MatVecCut{.workgroup_size = 64, .rows = 1, .split = 1, .depth = 1},
                               MatVecCut{.workgroup_size = 64, .rows = 2, .split = 3, .depth = 1},
                               MatVecCut{.workgroup_size = 64, .rows = 2, .split = 0, .lanes = 32},
                               MatVecCut{.workgroup_size = 64, .rows = 2, .split = 1, .depth = 1000}}) {
    EXPECT_FALSE(kernels::is_valid_cut(device, spec, cut));
  }
  EXPECT_TRUE(kernels::is_valid_cut(device, spec, {.workgroup_size = 64, .rows = 2, .split = 1, .depth = 1}));
  EXPECT_TRUE(kernels::is_valid_cut(device, spec, {.workgroup_size = 64, .rows = 2, .split = 0}));
}

/// Where workgroup memory does not hold the sums of so many rows and tokens, fewer tokens are made at once.
TEST(Tuning, ALargeCutServesManyTokensToo) {
  gpu::Device device = gpu::Device::open({}).value();
  const kernels::MatVecSpec spec{.format = {kernels::WeightType::kInt8, 32}, .rows = 8, .columns = 32};
  const MatVecCut cut{
      .workgroup_size = std::min(512U, device.limits().max_workgroup_invocations), .rows = 8, .split = 1, .depth = 1};
  ASSERT_TRUE(kernels::is_valid_cut(device, spec, cut));
  const auto op = kernels::MatVec::create(device, spec, kernels::MatVec::kMaxTokens, cut);
  EXPECT_TRUE(op) << op.error().message();
}

}  // namespace
}  // namespace cria::model
