// Shapes by name are the published ones; shapes by dimensions are checked as configurations are.
#include "model/shapes.h"

#include <gtest/gtest.h>

#include "model/weight_table.h"

namespace cria::model {
namespace {

/// Parameters as models are named after: weights without biases and norms, which are below a thousandth.
double billions(const ModelConfig& config) {
  const WeightTable table = weight_table(config);
  double parameters = 0;
  for (const MatrixSpec* matrix : all_matrices(table)) parameters += double{1} * matrix->rows() * matrix->columns;
  return parameters / 1e9;
}

TEST(Shapes, HaveThePublishedNumbersOfParameters) {
  const std::pair<const char*, double> published[] = {
      {"llama-15m", 0.0152}, {"llama-1b", 1.24},   {"llama-1.1b", 1.10}, {"llama-3b", 3.21},
      {"llama-7b", 6.74},    {"llama-8b", 8.03},   {"mistral-7b", 7.25}, {"smollm2-135m", 0.1345},
      {"qwen2-0.5b", 0.494}, {"qwen2-1.5b", 1.54}, {"qwen2-7b", 7.62},   {"qwen3-0.6b", 0.596},
      {"qwen3-4b", 4.02},    {"qwen3-8b", 8.19}};
  EXPECT_EQ(std::size(published), named_shapes().size());
  for (const auto& [name, parameters] : published) {
    const auto config = parse_shape(name);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_NEAR(billions(*config) / parameters, 1, 0.005) << name;  // published with three digits
  }
}

TEST(Shapes, AreReadFromDimensions) {
  const auto config = parse_shape(
      "hidden=64,layers=3,heads=4,kv_heads=2,intermediate=96,vocab=1000,head_dim=32,context=77,tied=1,family=qwen3");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->architecture, Architecture::kQwen3);
  EXPECT_EQ(config->hidden_size, 64U);
  EXPECT_EQ(config->num_layers, 3U);
  EXPECT_EQ(config->num_heads, 4U);
  EXPECT_EQ(config->num_kv_heads, 2U);
  EXPECT_EQ(config->intermediate_size, 96U);
  EXPECT_EQ(config->vocab_size, 1000U);
  EXPECT_EQ(config->head_dim, 32U);
  EXPECT_EQ(config->max_position_embeddings, 77U);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_TRUE(config->qk_norm);
}

TEST(Shapes, ANameMayBeFollowedByWhatDiffers) {
  const auto config = parse_shape("llama-1.1b,layers=4");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->num_layers, 4U);
  EXPECT_EQ(config->hidden_size, 2048U);
}

TEST(Shapes, MadeUpModelsHaveNoWindow) {
  const auto config = parse_shape("mistral-7b");
  ASSERT_TRUE(config) << config.error().message();
  for (const uint32_t window : config->sliding_window) EXPECT_EQ(window, 0U);
}

TEST(Shapes, AreRefusedWithTheValue) {
  const std::string rest = ",layers=2,heads=4,kv_heads=2,intermediate=96,vocab=1000";
  const std::pair<std::string, const char*> cases[] = {
      {"", "does not say hidden"},
      {"llama-9b", "\"llama-9b\" is neither the name of a shape nor a dimension: the names are llama-15m, "},
      {"layers=2,llama-8b", "\"llama-8b\" is neither"},
      {"hidden=64", "does not say layers"},
      {"hidden=64" + rest + ",width=3", "there is no dimension \"width\": the dimensions are hidden, "},
      {"hidden=sixty" + rest, "hidden is \"sixty\", not a whole number"},
      {"hidden=" + rest, "hidden is \"\", not a whole number"},
      {"hidden=-64" + rest, "hidden is \"-64\", not a whole number"},
      {"hidden=64.5" + rest, "hidden is \"64.5\", not a whole number"},
      {"hidden=99999999999" + rest, "hidden is \"99999999999\", not a whole number"},
      {"hidden=0" + rest, "hidden_size"},
      {"hidden=66" + rest, "\"hidden_size\" 66 is not a multiple of \"num_attention_heads\" 4"},
      {"hidden=64" + rest + ",tied=2", "tied is 2, not 0 or 1"},
      {"hidden=64" + rest + ",family=gpt", "there is no family \"gpt\": the families are llama, mistral, "},
  };
  for (const auto& [shape, phrase] : cases) {
    const auto config = parse_shape(shape);
    ASSERT_FALSE(config) << shape;
    EXPECT_EQ(config.error().code(), ErrorCode::kInvalidInput);
    EXPECT_NE(config.error().message().find(phrase), std::string::npos) << config.error().message();
    EXPECT_NE(config.error().message().find("the shape \"" + shape + "\""), std::string::npos)
        << config.error().message();
  }
}

}  // namespace
}  // namespace cria::model
