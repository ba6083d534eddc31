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

}  // namespace
}  // namespace cria::model
