// The model that comes with Cria gives the logits and greedy texts of the reference implementation
// (transformers; f16 weights evaluated in f32).
#include <gtest/gtest.h>

#include "golden/golden_values.h"

namespace cria {
namespace {

constexpr int kPrompts = 3;

class DefaultModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::filesystem::path source(CRIA_SOURCE_DIR);
    auto golden = formats::Safetensors::open(source / "tests/golden/cria-stories-11m/golden.safetensors");
    ASSERT_TRUE(golden) << golden.error().message();
    golden_ = std::make_unique<formats::Safetensors>(*std::move(golden));
    engine::EngineOptions options;
    options.model.kv = model::ModelOptions::Kv::kF32;                     // the reference's cache is f32
    options.model.matrix_units = model::ModelOptions::MatrixUnits::kOff;  // and so is all that it multiplies
    auto engine = engine::Engine::load(source / "models/cria-stories-11m", options);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = *std::move(engine);
  }
  static void TearDownTestSuite() {
    engine_ = nullptr;
    golden_ = nullptr;
  }

  /// A new, empty sequence.
  static engine::Sequence sequence() {
    auto sequence = engine::Sequence::create(*engine_).value();
    sequence.clear().value();
    return sequence;
  }
  template <typename T>
  static std::vector<T> golden(std::string_view name, int prompt) {
    return values<T>(*golden_, fmt::format("{}_{}", name, prompt));
  }

  static inline std::unique_ptr<formats::Safetensors> golden_;
  static inline std::unique_ptr<engine::Engine> engine_;
};

TEST_F(DefaultModel, LogitsOfEveryPromptPosition) {
  for (int k = 0; k < kPrompts; ++k) {
    const auto prompt = golden<uint32_t>("input_ids", k);
    const auto expected = golden<float>("logits", k);
    auto reading = sequence();
    const auto rows = reading.read_logits(prompt, static_cast<uint32_t>(prompt.size()));
    ASSERT_TRUE(rows) << rows.error().message();
    ASSERT_EQ(rows->size(), prompt.size());
    for (size_t i = 0; i < rows->size(); ++i) {
      EXPECT_LE(worst_difference((*rows)[i], logits_row(expected, i, engine_->config().vocab_size)), kLogitTolerance)
          << "prompt " << k << ", position " << i;
    }
  }
}

TEST_F(DefaultModel, GreedyTokens) {
  for (int k = 0; k < kPrompts; ++k) {
    const auto expected = golden<uint32_t>("greedy_ids", k);
    const auto top_two = golden<float>("greedy_top2", k);  // [tokens, 2]
    auto reading = sequence();
    std::vector<uint32_t> tokens;
    const auto stats =
        reading.generate(golden<uint32_t>("input_ids", k), greedy_options(expected.size()), [&](uint32_t token) {
          tokens.push_back(token);
          return true;
        });
    ASSERT_TRUE(stats) << stats.error().message();
    ASSERT_EQ(tokens.size(), expected.size());
    size_t compared = 0;
    // Where the two best are closer than twice the tolerance either may win, and the texts part.
    while (compared < tokens.size() && top_two[2 * compared] - top_two[2 * compared + 1] > 2 * kLogitTolerance) {
      ASSERT_EQ(tokens[compared], expected[compared]) << "prompt " << k << ", step " << compared;
      ++compared;
    }
    EXPECT_GE(compared, 20U) << "prompt " << k << " hardly tests anything";
  }
}

TEST_F(DefaultModel, ItsTokenizerMakesTheSamePrompts) {
  const char* texts[kPrompts] = {"Once upon a time", "The old king had three sons, and",
                                 "Lily and Tom went to the park. They saw"};
  for (int k = 0; k < kPrompts; ++k) {
    EXPECT_EQ(engine_->tokenizer().encode(texts[k]).value(), golden<uint32_t>("input_ids", k));
  }
}

}  // namespace
}  // namespace cria
