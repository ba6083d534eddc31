// Prompts of models with heads of lengths that few have, on matrix units: the logits of the kernels without, up to
// f16's rounding of what they multiply. The models are made up, as it is the shapes that count.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "golden/golden_values.h"
#include "kernels/attention_matrix.h"
#include "tiny_model.h"

namespace cria {
namespace {

using Kv = model::ModelOptions::Kv;
using MatrixUnits = model::ModelOptions::MatrixUnits;

constexpr uint32_t kTokens = 70;  // more than one tile of queries and keys
constexpr uint64_t kHidden = 64;
constexpr uint64_t kVocab = 384;
constexpr uint64_t kHeads = 4;
constexpr uint64_t kKvHeads = 2;
constexpr uint32_t kLayers = 2;

/// A Mistral with a window, queries that share keys, and heads of `head_dim`.
class HeadsModel {
 public:
  explicit HeadsModel(uint64_t head_dim) {
    folder_.write("config.json", fmt::format(R"({{"architectures": ["MistralForCausalLM"], "hidden_size": {},
        "intermediate_size": 64, "head_dim": {}, "num_attention_heads": {}, "num_key_value_heads": {},
        "num_hidden_layers": {}, "sliding_window": 40, "vocab_size": {}, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}})",
                                             kHidden, head_dim, kHeads, kKvHeads, kLayers, kVocab));
    folder_.write("tokenizer.json", file_text(source_path("tests/golden/tokenizers/bytes-template/tokenizer.json")));
    add("embed_tokens", {kVocab, kHidden});
    add("norm", {kHidden});
    for (uint32_t i = 0; i < kLayers; ++i) {
      const std::string layer = fmt::format("layers.{}.", i);
      for (const char* name : {"input_layernorm", "post_attention_layernorm"}) add(layer + name, {kHidden});
      add(layer + "self_attn.q_proj", {kHeads * head_dim, kHidden});
      for (const char* name : {"k_proj", "v_proj"}) add(layer + "self_attn." + name, {kKvHeads * head_dim, kHidden});
      add(layer + "self_attn.o_proj", {kHidden, kHeads * head_dim});
      for (const char* name : {"gate_proj", "up_proj", "down_proj"}) add(layer + "mlp." + name, {kHidden, kHidden});
    }
    std::vector<formats::TensorView> views;
    for (const auto& [name, shape, data] : tensors_) {
      views.push_back({.name = name, .shape = shape, .data = std::as_bytes(std::span(data))});
    }
    EXPECT_TRUE(formats::write_safetensors(folder_.path() / "model.safetensors", views));
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_.path(); }

 private:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> shape;
    std::vector<float> data;
  };

  /// Matrices keep the size of what they multiply, so that attention is neither flat nor all in one place.
  void add(const std::string& name, std::vector<uint64_t> shape) {
    const bool is_norm = shape.size() == 1;
    std::vector<float> data(is_norm ? shape[0] : shape[0] * shape[1], 1);
    const float largest = std::sqrt(3.0F / static_cast<float>(shape.back()));
    for (float& value : data) {
      const float unit = static_cast<float>(random_()) * 0x1p-31F - 1;
      value = is_norm ? 1 + unit / 4 : largest * unit;
    }
    tensors_.push_back({.name = "model." + name + ".weight", .shape = std::move(shape), .data = std::move(data)});
  }

  std::mt19937 random_{1};  // NOLINT(cert-msc51-cpp): the same model every time
  std::vector<Tensor> tensors_;
  TemporaryFolder folder_;
};

/// Of the largest logit. As in matrix_units_test.cpp, six roundings of 2^-11 in a layer, which do not conspire. What
/// they change may be rounded to another integer in an int8 cache, a step of 1 / 127 further: keys and values are then
/// off by half of it on average, if a quarter of them are.
float tolerance(Kv kv) {
  const float half_step = kv == Kv::kInt8 ? 1.0F / 254 : 0;
  return 4 * std::sqrt(kLayers * (6 * 0x1p-22F + 2 * half_step * half_step));
}

struct Setting {
  uint32_t head_dim;
  Kv kv;
  kernels::KvType type;
};

class MatrixHeads : public testing::TestWithParam<Setting> {
 protected:
  /// The logits after each token, read in chunks of 50 and 20.
  std::vector<std::vector<float>> logits(MatrixUnits matrix_units) {
    engine::EngineOptions options;
    options.model.weights.precision = model::Precision::kF16;
    options.model.matrix_units = matrix_units;
    options.model.kv = GetParam().kv;
    engine_ = engine::Engine::load(model_.path(), options).value();
    auto sequence = engine::Sequence::create(*engine_).value();
    std::vector<uint32_t> tokens(kTokens);
    for (uint32_t i = 0; i < kTokens; ++i) tokens[i] = (31 * i + 7) % kVocab;
    auto rows = sequence.read_logits({tokens.begin(), tokens.begin() + 50}, 50).value();
    std::ranges::move(sequence.read_logits({tokens.begin() + 50, tokens.end()}, kTokens - 50).value(),
                      std::back_inserter(rows));
    return rows;
  }

  HeadsModel model_{GetParam().head_dim};
  std::unique_ptr<engine::Engine> engine_;
};

TEST_P(MatrixHeads, ReadPromptsWithTheSameLogits) {
  const auto expected = logits(MatrixUnits::kOff);
  if (engine_->device().info().matrix_shapes.empty()) GTEST_SKIP() << "this device has no matrix units";
  ASSERT_TRUE(kernels::AttentionMatrix::supports(engine_->device(), GetParam().type, GetParam().head_dim));
  const auto rows = logits(MatrixUnits::kOn);
  ASSERT_EQ(rows.size(), expected.size());
  float worst = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    float largest = 0;
    for (const float logit : expected[i]) largest = std::max(largest, std::abs(logit));
    const float difference = worst_difference(rows[i], expected[i]);
    EXPECT_LE(difference, tolerance(GetParam().kv) * largest) << "at position " << i;
    worst = std::max(worst, difference);
  }
  EXPECT_GT(worst, 0) << "no matrix unit was used";
}

INSTANTIATE_TEST_SUITE_P(Golden, MatrixHeads,
                         testing::Values(Setting{80, Kv::kF16, kernels::KvType::kF16},
                                         Setting{96, Kv::kInt8, kernels::KvType::kInt8},
                                         Setting{256, Kv::kF16, kernels::KvType::kF16}),
                         [](const auto& info) { return fmt::format("Of{}", info.param.head_dim); });

}  // namespace
}  // namespace cria
