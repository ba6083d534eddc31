// Quantised weights, keys and values must not cost more accuracy than they may: perplexity of the default model on
// stories that it was not trained on, in windows of 512 tokens of which the first is not scored.
// CRIA_PERPLEXITY_WINDOWS=N takes more windows than the few that are quick on a CPU; with all of them f16 must give the
// reference's value.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/perplexity.h"
#include "engine/quantize.h"
#include "engine/sequence.h"
#include "golden/golden_values.h"
#include "temporary_folder.h"

namespace cria {
namespace {

constexpr uint32_t kWindow = 512;
constexpr size_t kQuickWindows = 2;
constexpr uint32_t kLogitTokens = 128;
constexpr size_t kOneWindowBytes = 2'000;
constexpr uint64_t kAllPredictions = 70518;
constexpr double kReference = 7.41145204;  // transformers, f16 weights evaluated in f32 (golden.json)

size_t wanted_windows() {
  const char* number = std::getenv("CRIA_PERPLEXITY_WINDOWS");
  return number == nullptr ? kQuickWindows : std::strtoul(number, nullptr, 10);
}

std::filesystem::path source_path(const std::string& name) { return std::filesystem::path(CRIA_SOURCE_DIR) / name; }

std::filesystem::path default_model() { return source_path("models/cria-stories-11m"); }

std::string text_of(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(source_path("tests/golden/text") / name, std::ios::binary).rdbuf();
  return text.str();
}

engine::Perplexity perplexity(const std::filesystem::path& model, const model::ModelOptions& model_options) {
  engine::EngineOptions options;
  options.model = model_options;
  const auto engine = engine::Engine::load(model, options).value();
  auto tokens = engine->tokenizer().encode(text_of("stories-valid.txt"), {.add_special_tokens = true}).value();
  tokens.resize(std::min(tokens.size(), wanted_windows() * kWindow));
  return engine::perplexity(*engine, tokens, {.window = kWindow, .stride = kWindow}, [](uint64_t) { return true; })
      .value();
}

engine::Perplexity perplexity(model::Precision precision, uint32_t block,
                              model::ModelOptions::Kv kv = model::ModelOptions::Kv::kAuto) {
  model::ModelOptions options;
  options.weights.precision = precision;
  options.weights.block = block;
  options.kv = kv;
  return perplexity(default_model(), options);
}

/// Every token is predicted once, whatever the stride, and a smaller one shows the model more.
TEST(Perplexity, WindowsThatOverlapPredictEachTokenOnce) {
  const auto engine = engine::Engine::load(default_model(), {}).value();
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

/// A model in 4 bits, calibrated with a text.
void write_calibrated(const std::filesystem::path& file, const std::string& text, bool keeps_attention_output = false) {
  engine::QuantizeOptions options;
  options.precision = model::Precision::kInt4;
  options.calibration_text = text;
  options.keeps_attention_output = keeps_attention_output;
  const auto written = engine::quantize(default_model(), file, options);
  ASSERT_TRUE(written) << written.error().message();
}

/// Logits at the first positions of the text that calibrates.
std::vector<std::vector<float>> logits(const std::filesystem::path& model, model::Precision precision) {
  engine::EngineOptions options;
  options.model.weights.precision = precision;
  const auto engine = engine::Engine::load(model, options).value();
  auto tokens = engine->tokenizer().encode(text_of("stories-made-up.txt")).value();
  tokens.resize(kLogitTokens);
  return engine::Sequence::create(*engine).value().read_logits(tokens, kLogitTokens).value();
}

double squared_distance(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  double sum = 0;
  for (size_t row = 0; row < a.size(); ++row) {
    for (size_t i = 0; i < a[row].size(); ++i) sum += std::pow(double{a[row][i]} - b[row][i], 2);
  }
  return sum;
}

/// stories-made-up.txt is what the model itself makes up: 80 texts with temperature 1, no other sampling settings and
/// seeds from 1 to 80. So calibration knows nothing of the stories that are scored elsewhere.
TEST(Calibration, BringsLogitsOfItsTextNearerToThoseOfFloats) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "int4.gguf";
  write_calibrated(file, text_of("stories-made-up.txt").substr(0, kOneWindowBytes));
  const auto floats = logits(default_model(), model::Precision::kF16);
  const double plain = squared_distance(logits(default_model(), model::Precision::kInt4), floats);
  const double calibrated = squared_distance(logits(file, model::Precision::kAsStored), floats);
  EXPECT_LT(calibrated, 0.2 * plain);
  RecordProperty("calibrated_over_plain", fmt::format("{:.3f}", calibrated / plain));
}

TEST(Calibration, LosesLessPerplexityOnOtherTexts) {
  if (wanted_windows() <= kQuickWindows) GTEST_SKIP() << "takes many windows: CRIA_PERPLEXITY_WINDOWS=1000";
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "int4.gguf";
  const std::filesystem::path kept = folder.path() / "kept.gguf";
  write_calibrated(file, text_of("stories-made-up.txt"));
  write_calibrated(kept, text_of("stories-made-up.txt"), true);
  const double floats = perplexity(model::Precision::kF16, 0).value;
  const double plain = perplexity(model::Precision::kInt4, 32).value / floats - 1;
  const double calibrated = perplexity(file, {}).value / floats - 1;
  EXPECT_LT(calibrated, plain);
  EXPECT_LE(calibrated, 0.025);
  const double with_output = perplexity(kept, {}).value / floats - 1;
  EXPECT_LE(with_output, 0.025);
  RecordProperty("int4_calibrated", fmt::format("{:+.3f} %, {:+.3f} % with attention's output in 8 bits",
                                                calibrated * 100, with_output * 100));
}

TEST(Calibration, WhatItCannotUseIsRefused) {
  const TemporaryFolder folder;
  const auto refusal = [&](model::Precision precision, const std::string& text) {
    const auto written =
        engine::quantize(default_model(), folder.path() / "m.gguf", {.precision = precision, .calibration_text = text});
    EXPECT_FALSE(written);
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "m.gguf"));
    return written ? "" : written.error().message();
  };
  EXPECT_EQ(refusal(model::Precision::kInt8, "a text"), "a calibration text is for int4, not for int8");
  EXPECT_NE(refusal(model::Precision::kInt4, "a text").find("fewer than one window of 512"), std::string::npos);
}

}  // namespace
}  // namespace cria
