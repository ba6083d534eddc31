// Measurements of a tiny made-up model: every case gives finite speeds, the bytes that its steps read, and what
// cannot be measured is refused; and the made-up model itself is the same in every type and however it is cut.
#include "engine/bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/clock.h"
#include "engine/bandwidth.h"
#include "engine/median.h"
#include "model/shapes.h"

namespace cria::engine {
namespace {

// Odd sizes: rows are padded, and the embedding is only looked up.
constexpr const char* kTiny = "hidden=40,layers=2,heads=4,kv_heads=2,head_dim=10,intermediate=36,vocab=51";

EngineOptions options_for(model::Precision precision, uint32_t slots = 1) {
  EngineOptions options;
  options.model.weights = precision;
  options.model.slots = slots;
  options.model.max_context = 100;
  options.model.max_batch_tokens = 8;
  return options;
}

std::unique_ptr<Engine> make_up(const EngineOptions& options, const std::string& shape = kTiny) {
  const auto config = model::parse_shape(shape);
  CRIA_CHECK(config.has_value());
  auto engine = Engine::make_up(*config, options);
  if (!engine) ADD_FAILURE() << engine.error().message();
  CRIA_CHECK(engine.has_value());
  return *std::move(engine);
}

constexpr BenchOptions kQuick = {.repetitions = 3, .warm_up_seconds = 0, .profile = true};
using Kind = BenchCase::Kind;

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 100, 2, 1}), 3);
}

TEST(Bandwidth, IsPositive) {
  auto device = gpu::Device::open({});
  ASSERT_TRUE(device) << device.error().message();
  const auto bandwidth = measure_read_bandwidth(*device);
  ASSERT_TRUE(bandwidth) << bandwidth.error().message();
  EXPECT_TRUE(std::isfinite(bandwidth->bytes_per_second));
  EXPECT_GT(bandwidth->bytes_per_second, 0);
  EXPECT_GE(bandwidth->buffer_bytes, 16U << 20);
  EXPECT_EQ(device->memory_bytes(gpu::MemoryKind::kScratch), 0U);
}

TEST(BenchCase, HasAName) {
  EXPECT_EQ((BenchCase{.kind = Kind::kPrompt, .tokens = 512}).name(), "pp512");
  EXPECT_EQ((BenchCase{.tokens = 128, .depth = 4096}).name(), "tg128 @ d4096");
}

TEST(Bench, MeasuresEveryKindOfCase) {
  const auto engine = make_up(options_for(model::Precision::kF16, 3));
  auto bench = Bench::create(*engine, 3);
  ASSERT_TRUE(bench) << bench.error().message();
  // In an order that leaves the cache in every state before each kind.
  const BenchCase cases[] = {{.kind = Kind::kGenerate, .tokens = 5, .batch = 1, .depth = 0},
                             {.kind = Kind::kPrompt, .tokens = 20, .batch = 1, .depth = 0},
                             {.kind = Kind::kGenerate, .tokens = 5, .batch = 3, .depth = 0},
                             {.kind = Kind::kGenerate, .tokens = 5, .batch = 1, .depth = 21},
                             {.kind = Kind::kPrompt, .tokens = 11, .batch = 3, .depth = 33},
                             {.kind = Kind::kGenerate, .tokens = 1, .batch = 3, .depth = 33},
                             {.kind = Kind::kGenerate, .tokens = 99, .batch = 1, .depth = 0},
                             {.kind = Kind::kPrompt, .tokens = 100, .batch = 2, .depth = 0}};
  for (const BenchCase& what : cases) {
    SCOPED_TRACE(fmt::format("{}, batch {}", what.name(), what.batch));
    const auto start = Clock::now();
    const auto result = bench->measure(what, kQuick);
    ASSERT_TRUE(result) << result.error().message();
    ASSERT_EQ(result->tokens_per_second.size(), kQuick.repetitions);
    for (const double speed : result->tokens_per_second) {
      EXPECT_TRUE(std::isfinite(speed));
      EXPECT_GT(speed, 0);
    }
    EXPECT_GT(result->cpu_seconds_per_token, 0);
    EXPECT_GT(result->record_seconds_per_token, 0);
    EXPECT_LE(result->record_seconds_per_token * what.tokens * what.batch, seconds_since(start));
    // A share of the tokens' time, but for noise; the step of a single one is recorded before that begins.
    if (what.kind == Kind::kPrompt || what.tokens > 1) {
      EXPECT_LE(result->record_seconds_per_token * result->speed(), 2);
    }
    if (what.kind == Kind::kGenerate) {
      // All matrices but the embedding, in rows padded to 8 elements of 2 bytes; norms in f32.
      const double matrices = 2 * 2 * (80 * 40 + 40 * 40 + 72 * 40 + 40 * 40) + 2 * 51 * 40;
      const double norms = 4 * 40 * 5;
      // Keys and values of 2 layers, 2 heads of 10, in f16, for positions up to the middle step's.
      const double positions = what.depth + (what.tokens + 1) / 2 + 1;
      const double kv = positions * 2 * 2 * 20 * 2;
      EXPECT_DOUBLE_EQ(result->bytes_per_token, (matrices + norms) / what.batch + kv);
    } else {
      EXPECT_EQ(result->bytes_per_token, 0);
    }
    if (engine->device().features().timestamps) {
      EXPECT_GT(result->profile.gpu_nanoseconds, 0U);
      EXPECT_FALSE(result->profile.kernels.empty());
      const uint64_t steps = what.kind == Kind::kPrompt ? what.tokens : std::min(what.tokens, 16U) + 1;
      EXPECT_EQ(result->profiled_tokens, steps * what.batch);
    }
  }
}

TEST(Bench, StepsReadOnlyTheWindow) {
  // Mistral with a window of 8 in both layers; the shape has none, so the configuration gets it here.
  auto config = *model::parse_shape(kTiny);
  config.sliding_window = {8, 0};
  auto engine = Engine::make_up(config, options_for(model::Precision::kF32));
  ASSERT_TRUE(engine) << engine.error().message();
  const model::Model& model = (*engine)->model();
  const double layer = 2 * 20 * 4;  // keys and values of one position, f32
  EXPECT_DOUBLE_EQ(step_bytes(model, 1, 50) - step_bytes(model, 1, 0), layer * (7 + 50));
  EXPECT_DOUBLE_EQ(step_bytes(model, 4, 50) - step_bytes(model, 1, 50), 3 * layer * (8 + 51));
}

TEST(Bench, RefusesWhatDoesNotFit) {
  const auto engine = make_up(options_for(model::Precision::kF32, 16));
  auto bench = Bench::create(*engine, 16);
  ASSERT_TRUE(bench) << bench.error().message();
  const auto long_case = bench->measure({.kind = Kind::kPrompt, .tokens = 60, .batch = 1, .depth = 41}, kQuick);
  ASSERT_FALSE(long_case);
  EXPECT_EQ(long_case.error().message(),
            "pp60 @ d41 needs a context of 101 positions, more than the 100 that there are");
  const auto wide_case = bench->measure({.kind = Kind::kGenerate, .tokens = 5, .batch = 16, .depth = 0}, kQuick);
  ASSERT_FALSE(wide_case);
  EXPECT_EQ(wide_case.error().message(), "tg5 of 16 sequences is more than the 8 tokens of one pass");
}

std::vector<float> logits_of(const EngineOptions& options, const std::string& shape) {
  const auto engine = make_up(options, shape);
  auto sequence = Sequence::create(*engine);
  CRIA_CHECK(sequence.has_value());
  auto rows = sequence->read_logits({1, 7, 50, 3, 3, 9, 0, 12, 44, 31}, 1);
  if (!rows) ADD_FAILURE() << rows.error().message();
  CRIA_CHECK(rows.has_value());
  return rows->front();
}

TEST(MadeUpModel, IsTheSameInEveryTypeAndHoweverItIsCut) {
  // The vocabulary takes several bindings of the limit below. With a matrix of its own for the output, with ties and
  // biases, with head norms.
  const std::string large = std::string(kTiny) + ",vocab=1000";
  for (const std::string& shape : {large, large + ",family=qwen2,tied=1", large + ",family=qwen3"}) {
    EngineOptions exact = options_for(model::Precision::kF32);
    exact.model.kv = model::ModelOptions::Kv::kF32;
    const std::vector<float> expected = logits_of(exact, shape);
    float largest = 0;
    for (const float logit : expected) largest = std::max(largest, std::abs(logit));
    EXPECT_GT(largest, 0.01F) << shape;  // the weights do say something
    EXPECT_LT(largest, 10.0F) << shape;
    for (const auto precision : {model::Precision::kF16, model::Precision::kBF16}) {
      for (const uint64_t binding_limit : {uint64_t{0}, uint64_t{16} << 10}) {
        EngineOptions options = exact;
        options.model.weights = precision;
        options.device.binding_limit = binding_limit;
        const std::vector<float> logits = logits_of(options, shape);
        ASSERT_EQ(logits.size(), expected.size());
        for (size_t i = 0; i < logits.size(); ++i) {
          // The same numbers in the same formulas; compilers may fuse multiplications and additions.
          EXPECT_NEAR(logits[i], expected[i], 1e-5F * largest) << shape;
        }
      }
    }
  }
}

TEST(MadeUpModel, PlansTheMemoryThatItTakes) {
  for (const std::string& shape : {std::string(kTiny), std::string(kTiny) + ",family=qwen2,tied=1"}) {
    const auto engine = make_up(options_for(model::Precision::kBF16), shape);
    EXPECT_EQ(engine->memory().weight_bytes, engine->model().memory_plan().weight_bytes) << shape;
  }
}

}  // namespace
}  // namespace cria::engine
