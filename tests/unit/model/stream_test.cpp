// Layers in memory of the host change where a model's bytes lie, and nothing else.
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <set>

#include "model/model.h"
#include "model/shapes.h"
#include "model/synthetic.h"

namespace cria::model {
namespace {

constexpr uint32_t kLayers = 5;

ModelConfig small_config() {
  return parse_shape("hidden=64,layers=5,heads=4,kv_heads=2,head_dim=16,intermediate=96,vocab=51").value();
}

/// Of some megabytes.
ModelConfig large_config() {
  return parse_shape("hidden=128,layers=4,heads=4,kv_heads=4,head_dim=32,intermediate=1024,vocab=51").value();
}

ModelOptions small_options(Precision precision) {
  ModelOptions options;
  options.weights = precision;
  options.max_context = 640;
  options.max_batch_tokens = 64;
  options.slots = 2;
  return options;
}

Result<gpu::Device> open_device(uint64_t budget) {
  gpu::DeviceOptions options;
  options.memory_budget = budget;
  return gpu::Device::open(options);
}

struct Subject {
  gpu::Device device;
  Model model;

  static Result<Subject> create(gpu::Device device, const ModelConfig& config, const ModelOptions& options) {
    CRIA_TRY_ASSIGN(Model model, Model::make_up(device, config, options));
    return Subject{std::move(device), std::move(model)};
  }

  static Batch batch_of(uint32_t slot, uint32_t position, uint32_t tokens) {
    Batch batch;
    for (uint32_t i = 0; i < tokens; ++i) {
      batch.tokens.push_back((position + i) * 7 % 51);
      batch.positions.push_back(position + i);
      batch.slots.push_back(slot);
    }
    return batch;
  }

  /// Reads `tokens` made-up ids of a slot from a position on, and gives the logits behind the last.
  Result<std::vector<std::byte>> read(uint32_t slot, uint32_t position, uint32_t tokens) {
    CRIA_TRY(model.kv_cache().reserve(device, slot, position + tokens));
    Batch batch = batch_of(slot, position, tokens);
    batch.output_rows = {tokens - 1};
    gpu::Recorder recorder = device.record("test");
    CRIA_TRY(model.forward(device, recorder, batch));
    CRIA_TRY_ASSIGN(gpu::PendingRead logits, recorder.read(model.logits().buffer, 0, 51 * 4));
    CRIA_TRY(recorder.submit());
    return logits.wait();
  }

  /// Reads them a layer at a time.
  Status read_by_layers(uint32_t slot, uint32_t tokens) {
    CRIA_TRY(model.kv_cache().reserve(device, slot, tokens));
    Batch batch = batch_of(slot, 0, tokens);
    for (uint32_t layer = 0; layer < model.config().num_layers; ++layer) {
      batch.only_layer = layer;
      gpu::Recorder recorder = device.record("test");
      CRIA_TRY(model.forward(device, recorder, batch));
      CRIA_TRY(recorder.submit());
    }
    return {};
  }

  /// Two texts at once, longer than a tail holds; one is cut off within a page that has gone to the host, and goes on.
  Result<std::vector<std::byte>> logits_of_a_life() {
    std::vector<std::byte> all;
    const auto add = [&](uint32_t slot, uint32_t position, uint32_t tokens) -> Status {
      CRIA_TRY_ASSIGN(const std::vector<std::byte> logits, read(slot, position, tokens));
      all.insert(all.end(), logits.begin(), logits.end());
      return {};
    };
    for (uint32_t position = 0; position < 512; position += 64) {
      CRIA_TRY(add(0, position, 64));
      CRIA_TRY(add(1, position / 2, 32));
    }
    for (uint32_t position = 512; position < 516; ++position) CRIA_TRY(add(0, position, 1));
    model.kv_cache().truncate(0, 100);
    CRIA_TRY(add(0, 100, 1));
    CRIA_TRY(add(0, 101, 60));
    model.kv_cache().truncate(1, 0);
    CRIA_TRY(add(1, 0, 40));
    model.kv_cache().truncate(1, 0);
    CRIA_TRY(read_by_layers(1, 40));
    CRIA_TRY(add(1, 40, 1));
    return all;
  }
};

TEST(Stream, LayersInHostMemoryGiveTheSameLogits) {
  gpu::Device device = open_device(0).value();
  const auto live = [&](const ModelOptions& options) {
    const uint64_t before = device.memory_bytes(gpu::MemoryKind::kWeights);
    auto subject = Subject::create(device, small_config(), options);
    CRIA_CHECK(subject.has_value());
    EXPECT_EQ(device.memory_bytes(gpu::MemoryKind::kWeights) - before, subject->model.memory_plan().weight_bytes);
    const bool is_streamed = options.streamed_layers + options.streamed_kv > 0;
    auto logits = subject->logits_of_a_life();
    EXPECT_TRUE(logits) << logits.error().message();
    EXPECT_EQ(subject->model.streamed_bytes() > 0, is_streamed);
    EXPECT_EQ(device.host_bytes() > 0, is_streamed);
    return logits ? *std::move(logits) : std::vector<std::byte>();
  };
  const std::pair<uint32_t, uint32_t> some[] = {{1, 2}, {3, kLayers}};
  const std::pair<uint32_t, uint32_t> others[] = {{kLayers, 0}, {0, 1}};
  for (const Precision precision : {Precision::kF16, Precision::kInt4}) {
    const bool is_first = precision == Precision::kF16;
    ModelOptions options = small_options(precision);
    if (!is_first) options.kv = ModelOptions::Kv::kInt8;
    const std::vector<std::byte> expected = live(options);
    for (const auto& [layers, kv] : is_first ? some : others) {
      SCOPED_TRACE(fmt::format("{}: {} layers, keys and values of {}", precision_name(precision), layers, kv));
      options.streamed_layers = layers;
      options.streamed_kv = kv;
      EXPECT_EQ(live(options), expected);
    }
  }
}

TEST(Stream, IsSpreadOverTheLayers) {
  for (uint32_t layers = 1; layers < 9; ++layers) {
    for (uint32_t streamed = 0; streamed <= layers; ++streamed) {
      uint32_t count = 0;
      for (uint32_t layer = 0; layer < layers; ++layer) count += is_streamed(layer, layers, streamed) ? 1 : 0;
      EXPECT_EQ(count, streamed) << layers;
    }
  }
}

TEST(Budget, ThePlannedBytesAreEnoughForAWholeLife) {
  ModelOptions options = small_options(Precision::kInt8);
  options.streamed_layers = options.streamed_kv = 2;
  gpu::Limits limits = open_device(0).value().limits();
  uint64_t budget = 0;
  for (int round = 0; round < 2; ++round) {  // what uploads may take depends on the budget
    const auto plan = model::plan(limits, true, large_config(), made_up_formats(options.weights), options);
    ASSERT_TRUE(plan) << plan.error().message();
    budget = plan->total_bytes();
    limits = open_device(budget).value().limits();
  }
  ASSERT_GT(budget, gpu::kMinBudget);
  auto subject = Subject::create(open_device(budget).value(), large_config(), options);
  ASSERT_TRUE(subject) << subject.error().message();
  const auto logits = subject->logits_of_a_life();
  EXPECT_TRUE(logits) << logits.error().message();
  EXPECT_LE(subject->device.peak_memory_bytes(), budget);
}

/// What a model of large_config() with all its memory used came to under a budget.
Status life_under(uint64_t budget) {
  CRIA_TRY_ASSIGN(gpu::Device device, open_device(budget));
  CRIA_TRY_ASSIGN(Subject subject, Subject::create(std::move(device), large_config(), small_options(Precision::kF32)));
  const auto logits = subject.logits_of_a_life();
  if (logits) return {};
  subject.model.kv_cache().truncate(0, 0);
  subject.model.kv_cache().truncate(1, 0);
  const auto less = subject.read(0, 0, 40);
  EXPECT_TRUE(less) << "after an error: " << less.error().message();
  return std::unexpected(logits.error());
}

TEST(Budget, WhateverAllocationIsRefusedTheErrorNamesItAndLessIsStillPossible) {
  auto plain = Subject::create(open_device(0).value(), large_config(), small_options(Precision::kF32));
  ASSERT_TRUE(plain && plain->logits_of_a_life());
  const uint64_t needed =
      (plain->device.peak_memory_bytes() - plain->device.limits().max_upload_bytes) * 16 / 15;  // uploads take a 16th
  std::set<std::string> refused;                                                                // labels
  const uint64_t step = (needed - gpu::kMinBudget) / 8;
  for (uint64_t budget = gpu::kMinBudget; budget < needed; budget += step) {
    const Status status = life_under(budget);
    ASSERT_FALSE(status) << budget << " of " << needed;
    const std::string& sentence = status.error().sentence();
    EXPECT_EQ(status.error().code(), ErrorCode::kOutOfMemory) << sentence;
    EXPECT_NE(sentence.find(fmt::format("bytes more do not fit into the memory budget of {}", with_commas(budget))),
              std::string::npos)
        << sentence;
    refused.insert(sentence.substr(0, sentence.find(':')));
  }
  EXPECT_TRUE(life_under(needed + 4096));
  EXPECT_TRUE(refused.contains("KV cache")) << fmt::format("{}", fmt::join(refused, ", "));
  EXPECT_GE(refused.size(), 3U) << fmt::format("{}", fmt::join(refused, ", "));
}

}  // namespace
}  // namespace cria::model
