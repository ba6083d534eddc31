// A KV cache in int8 gives the logits of one in f32, up to what its rounding does, however a text is read.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "golden/golden_values.h"

namespace cria {
namespace {

using Kv = model::ModelOptions::Kv;
using MatrixUnits = model::ModelOptions::MatrixUnits;

constexpr uint32_t kTokens = 70;  // more than two pages, and more than one tile of queries

std::unique_ptr<engine::Engine> load(Kv kv, MatrixUnits matrix_units = MatrixUnits::kOff) {
  engine::EngineOptions options;
  options.model.kv = kv;
  options.model.matrix_units = matrix_units;
  return engine::Engine::load(std::filesystem::path(CRIA_SOURCE_DIR) / "models/cria-stories-11m", options).value();
}

std::vector<uint32_t> stories(const engine::Engine& engine, size_t tokens) {
  std::ostringstream text;
  text << std::ifstream(std::filesystem::path(CRIA_SOURCE_DIR) / "tests/golden/text/stories-valid.txt").rdbuf();
  std::vector<uint32_t> ids = engine.tokenizer().encode(text.str(), {.add_special_tokens = true}).value();
  ids.resize(std::min(ids.size(), tokens));
  return ids;
}

/// A key or value is off by 1 / 254 of its head's largest at most, in two places of each layer. Errors that do not
/// conspire add up like their squares; four times that is never met by chance.
float tolerance(const engine::Engine& engine, std::span<const float> logits) {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::abs(logit));
  return 4 * std::sqrt(2.0F * static_cast<float>(engine.config().num_layers)) / 254 * largest;
}

std::vector<std::vector<float>> logits_in_chunks(engine::Engine& engine, std::span<const uint32_t> tokens,
                                                 size_t chunk) {
  auto sequence = engine::Sequence::create(engine).value();
  std::vector<std::vector<float>> rows;
  for (size_t first = 0; first < tokens.size(); first += chunk) {
    const auto part = tokens.subspan(first, std::min(chunk, tokens.size() - first));
    auto more = sequence.read_logits({part.begin(), part.end()}, static_cast<uint32_t>(part.size())).value();
    std::ranges::move(more, std::back_inserter(rows));
  }
  return rows;
}

TEST(Int8Cache, GivesTheLogitsOfFloatsUpToItsRounding) {
  const auto floats = load(Kv::kF32);
  const std::vector<uint32_t> tokens = stories(*floats, kTokens);
  const auto expected = logits_in_chunks(*floats, tokens, kTokens);
  for (const MatrixUnits matrix_units : {MatrixUnits::kOff, MatrixUnits::kOn}) {
    const auto engine = load(Kv::kInt8, matrix_units);
    for (const size_t chunk : {size_t{1}, size_t{7}, size_t{kTokens}}) {
      const auto rows = logits_in_chunks(*engine, tokens, chunk);
      ASSERT_EQ(rows.size(), expected.size());
      float worst = 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        const float difference = worst_difference(rows[i], expected[i]);
        EXPECT_LE(difference, tolerance(*engine, expected[i])) << "at position " << i << ", chunks of " << chunk;
        worst = std::max(worst, difference);
      }
      EXPECT_GT(worst, 1e-3F) << "nothing was rounded to int8";
    }
  }
}

}  // namespace
}  // namespace cria
