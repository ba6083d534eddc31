// The frequencies of rotary position embeddings agree with transformers' own functions.
//
// The expected numbers were computed by the functions of transformers 5.24 (modeling_rope_utils) in f64;
// ours are f64 rounded to f32, so that they agree to a few units of f32's last place.
#include <gtest/gtest.h>

#include <cmath>

#include "model/config.h"

namespace cria::model {
namespace {

ModelConfig with_rope(uint32_t head_dim, uint32_t context, const char* parameters) {
  const Json json = {{"architectures", {"LlamaForCausalLM"}},
                     {"hidden_size", head_dim * 4},
                     {"intermediate_size", 64},
                     {"num_hidden_layers", 1},
                     {"num_attention_heads", 4},
                     {"vocab_size", 100},
                     {"max_position_embeddings", context},
                     {"rope_parameters", Json::parse(parameters)}};
  const auto config = parse_config(json, "config.json");
  EXPECT_TRUE(config) << config.error().message();
  return config.value_or(ModelConfig{});
}

void expect_frequencies(const ModelConfig& config, uint32_t length, double factor,
                        const std::vector<double>& expected) {
  constexpr double kTolerance = 2 * 1.2e-7;  // two units of f32's last place
  const RopeFrequencies rope = rope_frequencies(config, length);
  EXPECT_NEAR(rope.attention_factor, factor, factor * kTolerance);
  ASSERT_EQ(rope.inverse_frequencies.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(rope.inverse_frequencies[i], expected[i], expected[i] * kTolerance) << "at " << i;
  }
}

TEST(RopeFrequencies, WithoutScaling) {
  // theta^(-2i / head_dim): for theta 10^4 and 8 dimensions, the powers of a tenth.
  expect_frequencies(with_rope(8, 512, R"({"rope_type":"default"})"), 512, 1, {1, 0.1, 0.01, 0.001});
}

TEST(RopeFrequencies, Linear) {
  expect_frequencies(with_rope(16, 512, R"({"rope_type":"linear","factor":2})"), 4000, 1,
                     {0.5, 0.15811388300841897, 0.05, 0.015811388300841896, 0.005, 0.00158113883008419, 0.0005,
                      0.00015811388300841897});
}

TEST(RopeFrequencies, DynamicGrowsWithTheSequence) {
  const ModelConfig config = with_rope(16, 512, R"({"rope_type":"dynamic","factor":2})");
  for (const uint32_t length : {1U, 511U, 512U}) {
    expect_frequencies(config, length, 1,
                       {1, 0.31622776601683794, 0.1, 0.031622776601683791, 0.01, 0.0031622776601683798, 0.001,
                        0.00031622776601683794});
  }
  expect_frequencies(config, 513, 1,
                     {1, 0.31605169243205367, 0.099888672289165467, 0.031569983931781523, 0.0099777468516922922,
                      0.003153483779135944, 0.00099666388545294367, 0.00031499730778330933});
  expect_frequencies(config, 2048, 1,
                     {1, 0.2394813560059838, 0.057351319874464762, 0.013734571852269752, 0.0032891738913431771,
                      0.00078769582363834257, 0.00018863846396516057, 4.5175395145262567e-05});
}

TEST(RopeFrequencies, Llama3OfTheOneBillionModel) {
  expect_frequencies(
      with_rope(64, 131072,
                R"({"rope_type":"llama3","rope_theta":500000,"factor":32,"low_freq_factor":1,"high_freq_factor":4,
                    "original_max_position_embeddings":8192})"),
      1, 1,
      {1,
       0.66360123769608848,
       0.44036660267178046,
       0.29222782257301516,
       0.19392274474868576,
       0.12868737343265052,
       0.085397100285765609,
       0.056669621445291044,
       0.037606030930863933,
       0.024955408670558694,
       0.016560440080994446,
       0.010989528534539826,
       0.0072926647372171085,
       0.0048394213457198928,
       0.0032114459947525913,
       0.001290547928209264,
       0.00042955679655936815,
       9.7082878026276702e-05,
       1.9461638184831125e-05,
       1.2914767187047391e-05,
       8.5702554898814781e-06,
       5.6872321504570466e-06,
       3.7740542941082826e-06,
       2.5044671007024935e-06,
       1.6619674677953091e-06,
       1.102883668639601e-06,
       7.3187496754404192e-07,
       4.8567313430101075e-07,
       3.2229329303788936e-07,
       2.1387422816109151e-07,
       1.4192720251899592e-07,
       9.4183067254349113e-08});
}

TEST(RopeFrequencies, YarnWithItsDefaults) {
  expect_frequencies(with_rope(32, 131072,
                               R"({"rope_type":"yarn","rope_theta":1000000,"factor":4,
                                   "original_max_position_embeddings":32768})"),
                     1, 1.1386294361119891,
                     {1, 0.42169650342858228, 0.17782794100389229, 0.074989420933245579, 0.031622776601683791,
                      0.013335214321633241, 0.0047799012641179675, 0.0016599615939631588, 0.00055,
                      0.00016867860137143292, 4.4456985250973067e-05, 1.8747355233311396e-05, 7.9056941504209488e-06,
                      3.3338035804083101e-06, 1.4058533129758728e-06, 5.9284342641541391e-07});
}

TEST(RopeFrequencies, YarnWithEveryParameter) {
  expect_frequencies(
      with_rope(32, 16384,
                R"({"rope_type":"yarn","rope_theta":10000,"factor":16,"beta_fast":20,"beta_slow":2,
                                   "truncate":false,"mscale":0.707,"mscale_all_dim":1.3,
                                   "original_max_position_embeddings":1024})"),
      1, 0.87914576892568852,
      {1, 0.56234132519034907, 0.31622776601683794, 0.17782794100389229, 0.091664696182910843, 0.03836697191552,
       0.014163745564494781, 0.0037970170831182004, 0.000625, 0.00035146332824396819, 0.00019764235376052374,
       0.00011114246312743269, 6.25e-05, 3.5146332824396819e-05, 1.9764235376052371e-05, 1.1114246312743267e-05});
}

TEST(RopeFrequencies, YarnsAttentionFactorIsTakenAsGiven) {
  expect_frequencies(with_rope(8, 16384,
                               R"({"rope_type":"yarn","factor":8,"attention_factor":0.75,"mscale":2,
                                   "original_max_position_embeddings":4096})"),
                     1, 0.75, {1, 0.1, 0.005625, 0.000125});
}

TEST(RopeFrequencies, YarnWithoutAFactorTakesTheRatioOfTheContexts) {
  expect_frequencies(with_rope(8, 16384, R"({"rope_type":"yarn","original_max_position_embeddings":4096})"), 1,
                     1.1386294361119891, {1, 0.1, 0.00625, 0.00025});
}

TEST(RopeFrequencies, AreFiniteAtEveryLimit) {
  const char* extremes[] = {
      R"({"rope_type":"default","rope_theta":2})",
      R"({"rope_type":"default","rope_theta":1e12})",
      R"({"rope_type":"dynamic","rope_theta":1e12,"factor":1000000})",
      R"({"rope_type":"linear","factor":1000000})",
      R"({"rope_type":"yarn","rope_theta":2,"factor":1000000,"beta_fast":1000000,"beta_slow":1e-6})",
      R"({"rope_type":"yarn","rope_theta":1e12,"factor":1,"beta_fast":1e-6,"beta_slow":1000000,"truncate":false})",
      R"({"rope_type":"yarn","rope_theta":2,"factor":2,"beta_fast":1,"beta_slow":1,"truncate":false})",
      R"({"rope_type":"llama3","factor":1000000,"low_freq_factor":1e-6,"high_freq_factor":1000000})",
  };
  for (const char* parameters : extremes) {
    for (const uint32_t head_dim : {2U, 4U, 512U}) {
      for (const uint32_t context : {1U, 1U << 24}) {
        const ModelConfig config = with_rope(head_dim, context, parameters);
        for (const uint32_t length : {1U, UINT32_MAX}) {
          for (const float frequency : rope_frequencies(config, length).inverse_frequencies) {
            EXPECT_TRUE(std::isfinite(frequency) && frequency >= 0) << parameters << " of " << head_dim;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace cria::model
