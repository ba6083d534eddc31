// Quantised weights must not cost more accuracy than they may: perplexity of the default model on stories that it
// was not trained on, in windows of 512 tokens of which the first is not scored. CRIA_PERPLEXITY_WINDOWS=N takes
// more windows than the few that are quick on a CPU; with all of them f16 must give the reference's value.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "golden/golden_values.h"

namespace cria {
namespace {

constexpr size_t kWindow = 512;
constexpr size_t kQuickWindows = 3;
constexpr size_t kAllPredictions = 70518;
constexpr double kReference = 7.41145204;  // transformers, f16 weights evaluated in f32 (golden.json)

size_t wanted_windows() {
  const char* number = std::getenv("CRIA_PERPLEXITY_WINDOWS");
  return number == nullptr ? kQuickWindows : std::strtoul(number, nullptr, 10);
}

/// -log of the probability that these logits give a token.
double surprise(std::span<const float> logits, uint32_t token) {
  double highest = logits[0];
  for (const float logit : logits) highest = std::max<double>(highest, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum) - logits[token];
}

struct Perplexity {
  double value = 0;
  size_t predictions = 0;
};

Perplexity perplexity(model::Precision precision, uint32_t block) {
  const std::filesystem::path source(CRIA_SOURCE_DIR);
  engine::EngineOptions options;
  options.model.weights.precision = precision;
  options.model.weights.block = block;
  const auto engine = engine::Engine::load(source / "models/cria-stories-11m", options).value();
  std::ostringstream text;
  text << std::ifstream(source / "tests/golden/text/stories-valid.txt", std::ios::binary).rdbuf();
  const auto tokens = engine->tokenizer().encode(text.str(), {.add_special_tokens = true}).value();
  auto sequence = engine::Sequence::create(*engine).value();
  Perplexity result;
  double sum = 0;
  const size_t windows = std::min(wanted_windows(), tokens.size() / kWindow);
  for (size_t window = 0; window < windows; ++window) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(window * kWindow);
    const std::vector<uint32_t> part(first, first + kWindow);
    sequence.clear().value();
    const auto rows = sequence.read_logits(part, kWindow).value();
    for (size_t i = 0; i + 1 < kWindow; ++i) sum += surprise(rows[i], part[i + 1]);
    result.predictions += kWindow - 1;
  }
  result.value = std::exp(sum / static_cast<double>(result.predictions));
  return result;
}

TEST(Perplexity, OfQuantisedWeightsIsCloseToThatOfFloats) {
  const Perplexity floats = perplexity(model::Precision::kF16, 0);
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
}

}  // namespace
}  // namespace cria
