// The plan that is made before loading tells what a model takes.
#include <gtest/gtest.h>

#include "model/model.h"
#include "model/shapes.h"

namespace cria::model {
namespace {

/// Makes a model, compares, and returns the bytes of scratch.
uint64_t expect_as_planned(const std::string& heads, const ModelOptions& options) {
  auto device = gpu::Device::open({});
  CRIA_CHECK(device.has_value());
  const auto config = parse_shape("hidden=40,layers=2,intermediate=36,vocab=51," + heads);
  CRIA_CHECK(config.has_value());
  const auto model = Model::make_up(*device, *config, options);
  EXPECT_TRUE(model) << model.error().message();
  EXPECT_EQ(model->memory_plan().weight_bytes, device->memory_bytes(gpu::MemoryKind::kWeights)) << heads;
  EXPECT_EQ(model->memory_plan().scratch_bytes, device->memory_bytes(gpu::MemoryKind::kScratch)) << heads;
  return model->memory_plan().scratch_bytes;
}

TEST(Plan, TellsTheWeightsAndTheScratchThatAModelTakes) {
  for (const Precision precision : {Precision::kF32, Precision::kF16, Precision::kInt8, Precision::kInt4}) {
    ModelOptions options;
    options.weights = precision;
    options.max_context = 100;
    options.max_batch_tokens = 8;
    // Heads of 10 have no kernel for a decode step, heads of 16 have one, which takes scratch for each slot.
    expect_as_planned("heads=4,kv_heads=2,head_dim=10", options);
    const uint64_t one = expect_as_planned("heads=4,kv_heads=2,head_dim=16", options);
    options.slots = 3;
    EXPECT_GT(expect_as_planned("heads=4,kv_heads=2,head_dim=16", options), one);
  }
}

/// Of 256 columns in Q4_K, Q5_K and Q6_K, scales counted, and in int8.
constexpr uint64_t kQ4 = 144;
constexpr uint64_t kQ5 = 176;
constexpr uint64_t kQ6 = 212;
constexpr uint64_t kInt8 = 256 + 16;

TEST(Plan, KQuantsTakeTheBytesOfTheirFormat) {
  auto device = gpu::Device::open({});
  ASSERT_TRUE(device) << device.error().message();
  const auto config = parse_shape("hidden=256,layers=1,heads=4,kv_heads=2,intermediate=384,vocab=100");
  ASSERT_TRUE(config);
  for (const auto& [precision, bytes] :
       {std::pair(Precision::kQ4_K, kQ4), {Precision::kQ5_K, kQ5}, {Precision::kQ6_K, kQ6}}) {
    SCOPED_TRACE(precision_name(precision));
    ModelOptions options;
    options.weights = precision;
    options.max_context = 100;
    const auto model = Model::make_up(*device, *config, options);
    ASSERT_TRUE(model) << model.error().message();
    const uint64_t kept = (2 * 100 + 2 * 256) * kQ6;  // embedding, output; q, k and v
    const uint64_t others = (256 + 2 * 384) * bytes;  // o; gate and up
    const uint64_t down = 256 * kInt8 * 384 / 256;    // rows of 384 are no whole super-blocks
    const uint64_t norms = 3 * 256 * 4;
    EXPECT_EQ(model->memory_plan().weight_bytes, kept + others + down + norms);
    EXPECT_EQ(model->memory_plan().weight_bytes, device->memory_bytes(gpu::MemoryKind::kWeights));
  }
}

}  // namespace
}  // namespace cria::model
