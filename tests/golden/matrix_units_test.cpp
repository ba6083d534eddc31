// Prompts and decode steps on matrix units give the logits of the kernels without, up to f16's rounding of what they
// multiply, in one chunk, in several, and for several sequences at once.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "golden/golden_values.h"

namespace cria {
namespace {

constexpr uint32_t kTokens = 70;  // more than one tile of queries and keys
constexpr uint32_t kSequences = 5;

std::unique_ptr<engine::Engine> load(model::ModelOptions::MatrixUnits matrix_units, uint32_t batch_tokens = 0) {
  engine::EngineOptions options;
  options.model.matrix_units = matrix_units;
  options.model.max_batch_tokens = batch_tokens;
  options.model.slots = kSequences;
  options.model.max_context = 128;
  auto engine = engine::Engine::load(std::filesystem::path(CRIA_SOURCE_DIR) / "models/cria-stories-11m", options);
  EXPECT_TRUE(engine) << engine.error().message();
  return engine ? *std::move(engine) : nullptr;
}

std::vector<uint32_t> some_text(const engine::Engine& engine) {
  std::ostringstream text;
  text << std::ifstream(std::filesystem::path(CRIA_SOURCE_DIR) / "tests/golden/text/stories-valid.txt").rdbuf();
  std::vector<uint32_t> tokens = engine.tokenizer().encode(text.str().substr(0, 2000)).value();
  tokens.resize(kTokens);
  return tokens;
}

/// Each layer rounds what is multiplied in six places (two norms, queries, weights of attention, what it found, what
/// the MLP activated), each by at most 2^-11 of its size. Errors that do not conspire add up like their squares; four
/// times that is never met by chance.
float tolerance(const engine::Engine& engine, std::span<const float> logits) {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::abs(logit));
  return 4 * std::sqrt(6.0F * static_cast<float>(engine.config().num_layers)) * 0x1p-11F * largest;
}

class MatrixUnits : public testing::Test {
 protected:
  void SetUp() override {
    plain_ = load(model::ModelOptions::MatrixUnits::kOff);
    ASSERT_NE(plain_, nullptr);
    if (plain_->device().info().matrix_shapes.empty()) GTEST_SKIP() << "this device has no matrix units";
    tokens_ = some_text(*plain_);
    auto sequence = engine::Sequence::create(*plain_).value();
    expected_ = sequence.read_logits(tokens_, kTokens).value();
  }
  std::unique_ptr<engine::Engine> plain_;
  std::vector<uint32_t> tokens_;
  std::vector<std::vector<float>> expected_;
};

TEST_F(MatrixUnits, ReadPromptsWithTheSameLogits) {
  for (const uint32_t batch_tokens : {0U, 33U}) {  // one chunk; three
    const auto engine = load(model::ModelOptions::MatrixUnits::kOn, batch_tokens);
    ASSERT_NE(engine, nullptr);
    auto sequence = engine::Sequence::create(*engine).value();
    const auto rows = sequence.read_logits(tokens_, kTokens).value();
    float worst = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const float difference = worst_difference(rows[i], expected_[i]);
      EXPECT_LE(difference, tolerance(*plain_, expected_[i])) << "at position " << i << ", chunks of " << batch_tokens;
      worst = std::max(worst, difference);
    }
    EXPECT_GT(worst, 0) << "no matrix unit was used";
  }
}

TEST_F(MatrixUnits, DecodeSeveralSequencesWithTheSameLogits) {
  const auto engine = load(model::ModelOptions::MatrixUnits::kOn);
  ASSERT_NE(engine, nullptr);
  gpu::Device& device = engine->device();
  model::Model& model = engine->model();
  for (uint32_t slot = 0; slot < kSequences; ++slot) {
    ASSERT_TRUE(model.kv_cache().reserve(device, slot, kTokens));
  }
  // Each sequence is one token ahead of the next, so that positions differ.
  for (uint32_t step = 0; step < 12; ++step) {
    model::Batch batch;
    for (uint32_t slot = 0; slot < kSequences; ++slot) {
      if (step < slot) continue;
      batch.tokens.push_back(tokens_[step - slot]);
      batch.positions.push_back(step - slot);
      batch.slots.push_back(slot);
      batch.output_rows.push_back(batch.size() - 1);
    }
    batch.rope_length = kTokens;
    gpu::Recorder recorder = device.record("step");
    ASSERT_TRUE(model.forward(device, recorder, batch));
    ASSERT_TRUE(recorder.submit());
    const uint32_t stride = model.logits().stride();
    const auto bytes = device.read(model.logits().buffer, 0, uint64_t{batch.size()} * stride * 4).value();
    for (uint32_t row = 0; row < batch.size(); ++row) {
      std::vector<float> logits(engine->config().vocab_size);
      std::memcpy(logits.data(), bytes.data() + uint64_t{row} * stride * 4, logits.size() * 4);
      const std::vector<float>& right = expected_[batch.positions[row]];
      EXPECT_LE(worst_difference(logits, right), tolerance(*plain_, right)) << "step " << step << ", row " << row;
    }
  }
}

}  // namespace
}  // namespace cria
