// Quantised weights, keys and values must not cost more accuracy than they may: perplexity of the default model on
// stories that it was not trained on, in windows of 512 tokens of which the first is not scored.
// CRIA_PERPLEXITY_WINDOWS=N takes more windows than the few that are quick on a CPU; with all of them f16 must give the
// reference's value.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/perplexity.h"
#include "golden/golden_values.h"

namespace cria {
namespace {

constexpr uint32_t kWindow = 512;
constexpr size_t kQuickWindows = 3;
constexpr uint64_t kAllPredictions = 70518;
constexpr double kReference = 7.41145204;  // transformers, f16 weights evaluated in f32 (golden.json)

size_t wanted_windows() {
  const char* number = std::getenv("CRIA_PERPLEXITY_WINDOWS");
  return number == nullptr ? kQuickWindows : std::strtoul(number, nullptr, 10);
}

engine::Perplexity perplexity(model::Precision precision, uint32_t block,
                              model::ModelOptions::Kv kv = model::ModelOptions::Kv::kAuto) {
  const std::filesystem::path source(CRIA_SOURCE_DIR);
  engine::EngineOptions options;
  options.model.weights.precision = precision;
  options.model.weights.block = block;
  options.model.kv = kv;
  const auto engine = engine::Engine::load(source / "models/cria-stories-11m", options).value();
  std::ostringstream text;
  text << std::ifstream(source / "tests/golden/text/stories-valid.txt", std::ios::binary).rdbuf();
  auto tokens = engine->tokenizer().encode(text.str(), {.add_special_tokens = true}).value();
  tokens.resize(std::min(tokens.size(), wanted_windows() * kWindow));
  return engine::perplexity(*engine, tokens, {.window = kWindow, .stride = kWindow}, [](uint64_t) { return true; })
      .value();
}

/// Every token is predicted once, whatever the stride, and a smaller one shows the model more.
TEST(Perplexity, WindowsThatOverlapPredictEachTokenOnce) {
  const std::filesystem::path source(CRIA_SOURCE_DIR);
  const auto engine = engine::Engine::load(source / "models/cria-stories-11m", {}).value();
  const auto tokens = engine->tokenizer()
                          .encode(
                              "Once upon a time there was a little dog. He liked to run in the park and play with his "
                              "ball. One day he lost the ball and was very sad. His friend the cat said: do not cry.")
                          .value();
  const auto measure = [&](uint32_t window, uint32_t stride) {
    return engine::perplexity(*engine, tokens, {.window = window, .stride = stride}, [](uint64_t) { return true; })
        .value();
  };
  const auto strided = measure(16, 4);
  const uint64_t windows = (tokens.size() - 16) / 4 + 1;
  EXPECT_EQ(strided.windows, windows);
  EXPECT_EQ(strided.predictions, 15 + (windows - 1) * 4);
  EXPECT_EQ(measure(16, 16).predictions, tokens.size() / 16 * 15);
  EXPECT_LT(strided.value, measure(16, 16).value);
  EXPECT_GT(strided.standard_error, 0);
}

TEST(Perplexity, OfQuantisedWeightsAndCachesIsCloseToThatOfFloats) {
  const engine::Perplexity floats = perplexity(model::Precision::kF16, 0);
  if (floats.predictions == kAllPredictions) {
    EXPECT_NEAR(floats.value / kReference, 1, 2e-4);
  }
  const auto expect_rise_below = [&](model::Precision precision, uint32_t block, double most) {
    const double rise = perplexity(precision, block).value / floats.value - 1;
    EXPECT_LE(rise, most) << model::precision_name(precision) << " in blocks of " << block;
    RecordProperty(fmt::format("{}_{}", model::precision_name(precision), block), fmt::format("{:+.3f} %", rise * 100));
  };
  expect_rise_below(model::Precision::kInt8, 32, 0.005);
  expect_rise_below(model::Precision::kInt4, 32, 0.04);
  const double rise = perplexity(model::Precision::kF16, 0, model::ModelOptions::Kv::kInt8).value / floats.value - 1;
  EXPECT_LE(rise, 0.003) << "with keys and values in int8";
  RecordProperty("kv_int8", fmt::format("{:+.3f} %", rise * 100));
}

}  // namespace
}  // namespace cria
