// A layer that is run alone goes on from whatever states it is given, ends where it is told to, and takes other
// matrices.
#include <gtest/gtest.h>

#include <cmath>

#include "model/model.h"
#include "model/shapes.h"

namespace cria::model {
namespace {

constexpr uint32_t kTokens = 20;
constexpr uint32_t kLayers = 3;

class LayerAlone : public ::testing::Test {
 protected:
  void SetUp() override {
    ModelOptions options;
    options.weights = Precision::kF32;
    options.max_context = 64;
    options.max_batch_tokens = 32;
    model = Model::make_up(device, config, options).value();
    ASSERT_TRUE(model.kv_cache().reserve(device, 0, kTokens));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      run(layer);
      states.push_back(read(model.hidden()));
    }
  }

  void run(uint32_t layer, std::optional<Product> before = {}) {
    Batch batch = Batch::of(0, 0, kTokens);
    for (uint32_t i = 0; i < kTokens; ++i) batch.tokens.push_back(i * 7 % config.vocab_size);
    batch.only_layer = layer;
    batch.before = before;
    gpu::Recorder recorder = device.record("test");
    ASSERT_TRUE(model.forward(device, recorder, batch));
    ASSERT_TRUE(recorder.submit());
  }

  std::vector<std::byte> read(const kernels::Activation& activation) {
    return device.read(activation.buffer, 0, uint64_t{kTokens} * activation.stride() * 4).value();
  }

  void write_hidden(const std::vector<std::byte>& bytes) { ASSERT_TRUE(device.write(model.hidden().buffer, 0, bytes)); }

  /// The states behind a layer that gets those that the layer before left.
  std::vector<std::byte> run_again(uint32_t layer) {
    write_hidden(states[layer - 1]);
    run(layer);
    return read(model.hidden());
  }

  ModelConfig config =
      parse_shape("hidden=64,layers=3,heads=4,kv_heads=2,head_dim=16,intermediate=96,vocab=51").value();
  gpu::Device device = gpu::Device::open({}).value();
  Model model;
  std::vector<std::vector<std::byte>> states;  // behind each layer
};

TEST_F(LayerAlone, GoesOnFromStatesThatAreWritten) {
  EXPECT_EQ(run_again(2), states[2]);
  EXPECT_EQ(run_again(1), states[1]);
  EXPECT_NE(states[1], states[2]);
}

TEST_F(LayerAlone, EndsBeforeAProduct) {
  constexpr Product kProducts[] = {Product::kO, Product::kGateUp, Product::kDown};
  std::vector<std::vector<std::byte>> inputs;
  for (const Product product : kProducts) {
    write_hidden(states[0]);
    run(1, product);
    inputs.push_back(read(model.product_input(product)));
    EXPECT_EQ(read(model.hidden()) == states[0], product == Product::kO);
    EXPECT_NE(read(model.hidden()), states[1]);
  }
  EXPECT_EQ(run_again(1), states[1]);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_EQ(read(model.product_input(kProducts[i])), inputs[i]);
}

TEST_F(LayerAlone, TakesOtherMatrices) {
  const LayerSpec spec = weight_table(config).layers[1];
  const auto zeros = [&](const MatrixSpec& matrix) {
    kernels::Matrix made = create_matrix(device, matrix, {kernels::WeightType::kInt4, 32}).value();
    for (const kernels::Matrix::Shard& shard : made.shards) {
      EXPECT_TRUE(device.write(shard.buffer, 0, std::vector<std::byte>(shard.rows * made.row_bytes())));
      EXPECT_TRUE(device.write(shard.scales, 0, std::vector<std::byte>(shard.rows * made.scale_row_bytes())));
    }
    return made;
  };
  LayerMatrices others{.o = zeros(spec.o), .gate_up = {}, .down = zeros(spec.down)};
  ASSERT_TRUE(model.exchange(device, 1, others));
  EXPECT_EQ(run_again(1), states[0]) << "a layer that adds nothing";
  ASSERT_TRUE(model.exchange(device, 1, others));
  EXPECT_EQ(run_again(1), states[1]);
  EXPECT_EQ(run_again(2), states[2]);
}

}  // namespace
}  // namespace cria::model
