// config.json of every supported family, in its older and newer forms, and what is refused by name.
#include "model/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "fixtures.h"

namespace cria::model {
namespace {

/// A small, complete configuration with `changes` merged in (null removes nothing: it is null).
Json config_json(std::string_view architecture, const Json& changes = Json::object()) {
  Json json = {{"architectures", {architecture}},
               {"hidden_size", 64},
               {"intermediate_size", 160},
               {"num_hidden_layers", 3},
               {"num_attention_heads", 4},
               {"num_key_value_heads", 2},
               {"vocab_size", 384},
               {"rms_norm_eps", 1e-5},
               {"max_position_embeddings", 512},
               {"hidden_act", "silu"},
               {"torch_dtype", "bfloat16"},
               {"pretraining_tp", 2}};
  json.update(changes);
  return json;
}

Json without(Json json, std::string_view key) {
  json.erase(std::string(key));
  return json;
}

ModelConfig parsed(const Json& json) {
  const auto config = parse_config(json, "config.json");
  EXPECT_TRUE(config) << config.error().message();
  return config.value_or(ModelConfig{});
}

void expect_refused(const Json& json, ErrorCode code, std::string_view phrase) {
  const auto config = parse_config(json, "config.json");
  ASSERT_FALSE(config) << "accepted: " << json;
  const std::string message = config.error().message();
  EXPECT_EQ(config.error().code(), code) << message;
  EXPECT_TRUE(message.starts_with("config.json: ")) << message;
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
}

using Windows = std::vector<uint32_t>;

TEST(ModelConfig, ReadsALlama) {
  const ModelConfig config = parsed(config_json("LlamaForCausalLM", {{"model_type", "llama"}, {"head_dim", 32}}));
  EXPECT_EQ(config.architecture, Architecture::kLlama);
  EXPECT_EQ(config.architecture_name, "LlamaForCausalLM");
  EXPECT_EQ(config.hidden_size, 64U);
  EXPECT_EQ(config.intermediate_size, 160U);
  EXPECT_EQ(config.num_layers, 3U);
  EXPECT_EQ(config.q_size(), 128U);
  EXPECT_EQ(config.kv_size(), 64U);
  EXPECT_EQ(config.vocab_size, 384U);
  EXPECT_EQ(config.max_position_embeddings, 512U);
  EXPECT_EQ(config.rms_norm_eps, 1e-5F);
  EXPECT_EQ(config.sliding_window, (Windows{0, 0, 0}));
  EXPECT_FALSE(config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm || config.tie_word_embeddings);
  EXPECT_EQ(config.rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(config.rope.theta, 10000);
}

TEST(ModelConfig, TakesTransformersDefaultsForWhatIsLeftOut) {
  const Json bare = {{"architectures", {"LlamaForCausalLM"}},
                     {"hidden_size", 64},
                     {"intermediate_size", 160},
                     {"num_hidden_layers", 1},
                     {"num_attention_heads", 16},
                     {"vocab_size", 384}};
  const ModelConfig llama = parsed(bare);
  EXPECT_EQ(llama.num_kv_heads, 16U);
  EXPECT_EQ(llama.head_dim, 4U);
  EXPECT_EQ(llama.max_position_embeddings, 2048U);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6F);
  EXPECT_EQ(llama.bos_token_id, 1U);
  EXPECT_EQ(llama.eos_token_ids, (std::vector<uint32_t>{2}));

  Json other = bare;
  other["architectures"] = {"MistralForCausalLM"};
  EXPECT_EQ(parsed(other).num_kv_heads, 8U);
  EXPECT_EQ(parsed(other).max_position_embeddings, 131072U);
  EXPECT_EQ(parsed(other).sliding_window, (Windows{4096}));
  other["architectures"] = {"Qwen3ForCausalLM"};
  other["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parsed(other).num_kv_heads, 16U);
  EXPECT_EQ(parsed(other).head_dim, 128U);
  EXPECT_EQ(parsed(other).max_position_embeddings, 32768U);
  EXPECT_TRUE(parsed(other).eos_token_ids.empty());
  EXPECT_FALSE(parsed(other).bos_token_id);
}

TEST(ModelConfig, ReadsBiasesAndNormsOfEachFamily) {
  const struct {
    const char* architecture;
    Json changes;
    bool qkv, o, mlp, norm;
  } cases[] = {
      {"LlamaForCausalLM", {{"attention_bias", true}}, true, true, false, false},
      {"LlamaForCausalLM", {{"mlp_bias", true}}, false, false, true, false},
      {"MistralForCausalLM", {{"attention_bias", false}}, false, false, false, false},
      {"Qwen2ForCausalLM", Json::object(), true, false, false, false},
      {"Qwen2ForCausalLM", {{"attention_bias", true}}, true, false, false, false},
      {"Qwen3ForCausalLM", Json::object(), false, false, false, true},
      {"Qwen3ForCausalLM", {{"attention_bias", true}}, true, true, false, true},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(std::string(test.architecture) + test.changes.dump());
    const ModelConfig config = parsed(config_json(test.architecture, test.changes));
    EXPECT_EQ(config.qkv_bias, test.qkv);
    EXPECT_EQ(config.o_bias, test.o);
    EXPECT_EQ(config.mlp_bias, test.mlp);
    EXPECT_EQ(config.qk_norm, test.norm);
  }
}

TEST(ModelConfig, ReadsSlidingWindowsOfEachFamily) {
  const Json full_sliding_full = {"full_attention", "sliding_attention", "full_attention"};
  const Json all_sliding = {"sliding_attention", "sliding_attention", "sliding_attention"};
  const Json all_full = {"full_attention", "full_attention", "full_attention"};
  const struct {
    const char* architecture;
    Json changes;
    Windows windows;
  } cases[] = {
      {"LlamaForCausalLM", {{"sliding_window", nullptr}, {"layer_types", all_full}}, {0, 0, 0}},
      {"LlamaForCausalLM", {{"sliding_window", 512}}, {0, 0, 0}},  // as wide as the context: no window
      {"MistralForCausalLM", {{"sliding_window", nullptr}}, {0, 0, 0}},
      {"MistralForCausalLM", {{"sliding_window", nullptr}, {"layer_types", all_full}}, {0, 0, 0}},
      {"MistralForCausalLM", {{"sliding_window", 16}, {"max_window_layers", 2}}, {16, 16, 16}},
      {"MistralForCausalLM", {{"sliding_window", 16}, {"layer_types", all_sliding}}, {16, 16, 16}},
      {"Qwen2ForCausalLM", {{"sliding_window", 16}}, {0, 0, 0}},
      {"Qwen2ForCausalLM", {{"sliding_window", 16}, {"use_sliding_window", false}}, {0, 0, 0}},
      {"Qwen2ForCausalLM", {{"sliding_window", 16}, {"use_sliding_window", true}}, {0, 0, 0}},  // from layer 28
      {"Qwen2ForCausalLM",
       {{"sliding_window", 16}, {"use_sliding_window", true}, {"max_window_layers", 2}},
       {0, 0, 16}},
      {"Qwen2ForCausalLM", {{"use_sliding_window", true}, {"max_window_layers", 0}}, {4096, 4096, 4096}},
      {"Qwen2ForCausalLM",
       {{"sliding_window", nullptr}, {"use_sliding_window", true}, {"max_window_layers", 0}},
       {0, 0, 0}},
      {"Qwen3ForCausalLM",
       {{"sliding_window", 16}, {"use_sliding_window", true}, {"layer_types", full_sliding_full}},
       {0, 16, 0}},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(std::string(test.architecture) + test.changes.dump());
    EXPECT_EQ(parsed(config_json(test.architecture, test.changes)).sliding_window, test.windows);
  }
}

TEST(ModelConfig, ReadsOldAndNewRopeKeysAlike) {
  const Json llama3 = {
      {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}, {"original_max_position_embeddings", 64}};
  Json old_form = llama3, newer_form = llama3, newest_form = llama3;
  old_form["type"] = newer_form["rope_type"] = newest_form["rope_type"] = "llama3";
  newest_form["rope_theta"] = 500000;
  const ModelConfig oldest =
      parsed(config_json("LlamaForCausalLM", {{"rope_theta", 500000.0}, {"rope_scaling", old_form}}));
  EXPECT_EQ(oldest.rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(oldest.rope.theta, 500000);
  EXPECT_EQ(oldest.rope.factor, 8);
  EXPECT_EQ(oldest.rope.original_max_position, 64);
  const Json others[] = {
      {{"rope_theta", 500000}, {"rope_scaling", newer_form}},
      {{"rope_parameters", newest_form}},
      {{"rope_parameters", newest_form}, {"rope_scaling", nullptr}},
      {{"rope_parameters", newest_form}, {"rope_scaling", Json::object()}},
      {{"rope_parameters", newest_form}, {"rope_scaling", newer_form}, {"rope_theta", 500000}},
  };
  for (const Json& form : others) {
    EXPECT_EQ(parsed(config_json("LlamaForCausalLM", form)).rope, oldest.rope) << form;
  }
}

TEST(ModelConfig, RefusesWhatItDoesNotImplementByName) {
  const char* llama = "LlamaForCausalLM";
  const struct {
    const char* architecture;
    Json changes;
    const char* phrase;
  } cases[] = {
      {"GemmaForCausalLM", Json::object(), "the architecture \"GemmaForCausalLM\" is not supported"},
      {"LLaMAForCausalLM", Json::object(), "LlamaForCausalLM, MistralForCausalLM"},
      {"MixtralForCausalLM", Json::object(), "the architecture \"MixtralForCausalLM\""},
      {llama, {{"model_type", "mistral"}}, "\"model_type\" \"mistral\" does not go with LlamaForCausalLM"},
      {llama, {{"hidden_act", "gelu"}}, "the activation \"gelu\" is not supported"},
      {llama, {{"hidden_activation", "gelu_pytorch_tanh"}}, "the activation \"gelu_pytorch_tanh\""},
      {llama, {{"quantization_config", {{"quant_method", "gptq"}}}}, "the option \"quantization_config\""},
      {llama, {{"head_dim", 15}}, "heads of 15 elements are not supported (even, from 2 to 512)"},
      {llama, {{"sliding_window", 256}}, "the option \"sliding_window\": 256 is not supported for LlamaForCausalLM"},
      {llama,
       {{"layer_types", {"sliding_attention", "full_attention", "full_attention"}}},
       "layer 0 of type \"sliding_attention\" is not supported for LlamaForCausalLM with no sliding window"},
      {"MistralForCausalLM",
       {{"sliding_window", 16}, {"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}},
       "layer 1 of type \"full_attention\" is not supported for MistralForCausalLM with a sliding window of 16"},
      {"Qwen3ForCausalLM",
       {{"layer_types", {"linear_attention", "full_attention", "full_attention"}}},
       "layer 0 of type \"linear_attention\""},
      {"MistralForCausalLM", {{"attention_bias", true}}, "the option \"attention_bias\": true is not supported for"},
      {"Qwen2ForCausalLM", {{"mlp_bias", true}}, "the option \"mlp_bias\": true is not supported for"},
      {llama, {{"rope_scaling", {{"type", "longrope"}, {"factor", 2}}}}, "RoPE of type \"longrope\" is not supported"},
      {llama, {{"rope_scaling", {{"type", "mrope"}}}}, "RoPE of type \"mrope\" is not supported"},
      {llama,
       {{"rope_scaling", {{"type", "default"}, {"mrope_section", {8, 4, 4}}}}},
       "\"rope_scaling\": the RoPE parameter \"mrope_section\": [8,4,4] is not supported"},
      {llama,
       {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}},
       "\"partial_rotary_factor\": 0.5 is not supported"},
      {llama,
       {{"rope_parameters", {{"full_attention", {{"rope_theta", 10000}}}}}},
       "RoPE parameters of its own for \"full_attention\" are not supported"},
  };
  for (const auto& test : cases) {
    expect_refused(config_json(test.architecture, test.changes), ErrorCode::kUnsupported, test.phrase);
  }
}

TEST(ModelConfig, OptionsThatChangeTheResultMustBeNeutral) {
  const struct {
    const char* key;
    std::vector<Json> neutral;
    Json other;
  } cases[] = {
      {"attn_logit_softcapping", {nullptr, 0}, 50.0},
      {"final_logit_softcapping", {nullptr}, 30.0},
      {"num_local_experts", {nullptr, 0}, 8},
      {"num_experts", {0}, 8},
      {"logit_scale", {1, 1.0, nullptr}, 0.0625},
      {"embedding_multiplier", {1.0}, 12.0},
      {"residual_multiplier", {1.0}, 0.22},
      {"attention_multiplier", {nullptr}, 0.015625},
      {"logits_scaling", {1.0}, 16.0},
      {"query_pre_attn_scalar", {nullptr}, 256},
      {"clip_qkv", {nullptr}, 8.0},
      {"no_rope_layers", {nullptr, Json::array(), Json::array({1, 1, 1})}, Json::array({1, 1, 0})},
      {"attention_chunk_size", {nullptr}, 8192},
      {"partial_rotary_factor", {1, 1.0, nullptr}, 0.5},
      {"rope_interleaved", {false}, true},
      {"scale_emb", {1}, 12},
      {"is_causal", {true, nullptr}, false},
      {"use_bias", {false}, true},
  };
  for (const auto& test : cases) {
    for (const Json& neutral : test.neutral) parsed(config_json("LlamaForCausalLM", {{test.key, neutral}}));
    expect_refused(config_json("LlamaForCausalLM", {{test.key, test.other}}), ErrorCode::kUnsupported,
                   fmt::format("the option \"{}\": {} is not supported", test.key, test.other.dump()));
  }
}

TEST(ModelConfig, RefusesValuesOutOfRange) {
  const struct {
    Json changes;
    const char* phrase;
  } cases[] = {
      {{{"architectures", Json::array()}}, "\"architectures\" does not name one architecture"},
      {{{"architectures", {1}}}, "does not name one architecture"},
      {{{"architectures", "LlamaForCausalLM"}}, "does not name one architecture"},
      {{{"architectures", {"LlamaForCausalLM", "MistralForCausalLM"}}}, "does not name one architecture"},
      {{{"hidden_size", 0}}, "\"hidden_size\" is 0, not a whole number from 1 to 1048576"},
      {{{"hidden_size", -64}}, "\"hidden_size\" is -64, not a whole number"},
      {{{"hidden_size", 64.0}}, "\"hidden_size\" is 64.0, not a whole number"},
      {{{"hidden_size", "64"}}, "\"hidden_size\" is \"64\", not a whole number"},
      {{{"hidden_size", UINT64_MAX}}, "is 18446744073709551615, not a whole number"},
      {{{"hidden_size", nullptr}}, "\"hidden_size\" is missing"},
      {{{"hidden_size", 66}}, "\"hidden_size\" 66 is not a multiple of \"num_attention_heads\" 4"},
      {{{"intermediate_size", 0}}, "\"intermediate_size\" is 0"},
      {{{"num_hidden_layers", 0}}, "\"num_hidden_layers\" is 0"},
      {{{"num_hidden_layers", 1025}}, "\"num_hidden_layers\" is 1025, not a whole number from 1 to 1024"},
      {{{"num_attention_heads", 0}}, "\"num_attention_heads\" is 0"},
      {{{"num_key_value_heads", 0}}, "\"num_key_value_heads\" is 0"},
      {{{"num_key_value_heads", 3}}, "\"num_attention_heads\" 4 is not a multiple of \"num_key_value_heads\" 3"},
      {{{"num_key_value_heads", 8}}, "\"num_attention_heads\" 4 is not a multiple of \"num_key_value_heads\" 8"},
      {{{"head_dim", 514}}, "\"head_dim\" is 514, not a whole number from 1 to 512"},
      {{{"vocab_size", 0}}, "\"vocab_size\" is 0"},
      {{{"vocab_size", 1 << 30}}, "\"vocab_size\" is 1073741824, not a whole number from 1 to 4194304"},
      {{{"max_position_embeddings", 0}}, "\"max_position_embeddings\" is 0"},
      {{{"rms_norm_eps", 0}}, "\"rms_norm_eps\" is 0, not a number"},
      {{{"rms_norm_eps", -1e-5}}, "\"rms_norm_eps\" is -1e-05, not a number"},
      {{{"rms_norm_eps", "1e-5"}}, "\"rms_norm_eps\" is \"1e-5\", not a number"},
      {{{"tie_word_embeddings", 1}}, "\"tie_word_embeddings\" is 1, not true or false"},
      {{{"attention_bias", "no"}}, "\"attention_bias\" is \"no\", not true or false"},
      {{{"hidden_act", 3}}, "\"hidden_act\" is 3, not a string"},
      {{{"sliding_window", -1}}, "\"sliding_window\" is -1"},
      {{{"layer_types", {"full_attention"}}}, "\"layer_types\" is not a list of 3 layers"},
      {{{"layer_types", 3}}, "\"layer_types\" is not a list of 3 layers"},
      {{{"eos_token_id", 384}}, "\"eos_token_id\" holds 384, not a token below the vocabulary size 384"},
      {{{"eos_token_id", {2, -1}}}, "\"eos_token_id\" holds -1"},
      {{{"bos_token_id", 1.5}}, "\"bos_token_id\" holds 1.5"},
      {{{"rope_theta", 0}}, "\"rope_theta\" is 0, not a number"},
      {{{"rope_theta", -1e4}}, "\"rope_theta\" is -10000.0, not a number"},
      {{{"rope_scaling", 4}}, "\"rope_scaling\": is not an object"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "\"rope_scaling\": \"factor\" is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 0.5}}}}, "\"rope_scaling\": \"factor\" is 0.5, not a number"},
      {{{"rope_scaling", {{"type", 4}}}}, "\"type\" is 4, not a string"},
      {{{"rope_scaling", {{"type", "llama3"}, {"factor", 8}}}}, "or one of them is missing"},
      {{{"rope_scaling", {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}},
       "\"high_freq_factor\" is not above \"low_freq_factor\""},
      {{{"rope_scaling", {{"type", "yarn"}, {"factor", 8}, {"beta_slow", -1}}}}, "\"beta_slow\" is -1, not a number"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}, {"rope_parameters", {{"rope_type", "default"}}}},
       "\"rope_scaling\" and \"rope_parameters\" do not say the same"},
  };
  for (const auto& test : cases) {
    expect_refused(config_json("LlamaForCausalLM", test.changes), ErrorCode::kInvalidInput, test.phrase);
  }
  expect_refused(Json::array(), ErrorCode::kInvalidInput, "is not a JSON object");
  for (const char* key :
       {"architectures", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    expect_refused(without(config_json("LlamaForCausalLM"), key), ErrorCode::kInvalidInput, key);
  }
}

/// Values of every kind, at and beyond limits.
std::vector<Json> odd_values() {
  return {nullptr,
          true,
          false,
          0,
          1,
          2,
          3,
          -1,
          1.5,
          1e308,
          UINT64_MAX,
          1e-300,
          "",
          "text",
          Json::array(),
          Json::object(),
          {1, 2},
          {{"a", 1}},
          INT64_MIN,
          4096,
          65536,
          1U << 31,
          Json::array({nullptr}),
          Json::array({Json::object()})};
}

TEST(ModelConfig, AnyValueOfAnyKeyIsRefusedOrSound) {
  const Json full = config_json("Qwen2ForCausalLM", {{"model_type", "qwen2"},
                                                     {"head_dim", 16},
                                                     {"tie_word_embeddings", false},
                                                     {"eos_token_id", 2},
                                                     {"bos_token_id", 1},
                                                     {"sliding_window", 16},
                                                     {"use_sliding_window", true},
                                                     {"max_window_layers", 1},
                                                     {"layer_types", nullptr},
                                                     {"rope_theta", 1e4},
                                                     {"rope_scaling", {{"type", "yarn"}, {"factor", 2}}},
                                                     {"rope_parameters", nullptr},
                                                     {"attention_bias", true},
                                                     {"quantization_config", nullptr},
                                                     {"no_rope_layers", nullptr}});
  const Json rope = {{"rope_type", "yarn"},
                     {"type", "yarn"},
                     {"factor", 2},
                     {"rope_theta", 1e4},
                     {"beta_fast", 32},
                     {"beta_slow", 1},
                     {"mscale", 1},
                     {"mscale_all_dim", 1},
                     {"attention_factor", 1},
                     {"truncate", true},
                     {"original_max_position_embeddings", 64},
                     {"low_freq_factor", 1},
                     {"high_freq_factor", 4}};
  std::vector<Json> variants;
  for (const Json& value : odd_values()) {
    for (const auto& [key, old] : full.items()) variants.push_back(config_json("Qwen2ForCausalLM", {{key, value}}));
    for (const auto& [key, old] : full.items())
      variants.push_back([&] {
        Json json = full;
        json[key] = value;
        return json;
      }());
    for (const auto& [key, old] : rope.items()) {
      for (const char* type : {"default", "linear", "dynamic", "llama3", "yarn"}) {
        Json parameters = rope;
        parameters["rope_type"] = type;
        parameters[key] = value;
        variants.push_back(config_json("Qwen2ForCausalLM", {{"rope_parameters", parameters}}));
      }
    }
  }
  size_t accepted = 0;
  for (const Json& json : variants) {
    const auto config = parse_config(json, "config.json");
    if (!config) {
      ASSERT_GT(config.error().message().size(), 20U);
      ASSERT_LT(config.error().message().size(), 400U) << config.error().message();
      continue;
    }
    ++accepted;
    EXPECT_EQ(config->num_heads % config->num_kv_heads, 0U) << json;
    EXPECT_EQ(config->sliding_window.size(), config->num_layers) << json;
    for (const float frequency : rope_frequencies(*config, 4096).inverse_frequencies) {
      ASSERT_TRUE(std::isfinite(frequency)) << json;
    }
  }
  EXPECT_GT(accepted, 100U);
}

Json read_json(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  const auto json = parse_json(text.str(), path.string());
  EXPECT_TRUE(json) << json.error().message();
  return json.value_or(Json());
}

TEST(ModelConfig, ReadsEveryFixture) {
  std::map<std::string, ModelConfig> configs;
  for (const auto& folder : fixture_dirs("models")) {
    const auto config = parse_config(read_json(folder / "config.json"), "config.json");
    ASSERT_TRUE(config) << folder << ": " << config.error().message();
    if (std::filesystem::exists(folder / "generation_config.json")) {
      const auto defaults =
          parse_generation_defaults(read_json(folder / "generation_config.json"), config->vocab_size, "g.json");
      ASSERT_TRUE(defaults) << folder << ": " << defaults.error().message();
    }
    configs[folder.filename().string()] = *config;
  }
  ASSERT_GE(configs.size(), 10U);
  EXPECT_TRUE(configs["llama-gqa-tied-bf16"].tie_word_embeddings);
  EXPECT_TRUE(configs["llama-headdim-bias-f32"].o_bias && configs["llama-headdim-bias-f32"].mlp_bias);
  EXPECT_EQ(configs["llama-mha-f32"].eos_token_ids, (std::vector<uint32_t>{2}));
  EXPECT_EQ(configs["llama-headdim-bias-f32"].q_size(), 128U);
  EXPECT_EQ(configs["llama-linear-rope-f32"].rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(configs["llama3-rope-bf16"].rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(configs["llama3-rope-bf16"].rope.theta, 500000);
  EXPECT_EQ(configs["mistral-sliding-f32"].sliding_window, (Windows{16, 16, 16}));
  EXPECT_TRUE(configs["qwen2-f32"].qkv_bias);
  EXPECT_EQ(configs["qwen2-f32"].head_dim, 16U);
  EXPECT_EQ(configs["qwen2-f32"].rope.theta, 1000000);
  EXPECT_TRUE(configs["qwen3-f32"].qk_norm);
  EXPECT_EQ(configs["llama-odd-sizes-f32"].vocab_size, 1003U);
}

TEST(ModelConfig, ReadsTheDefaultModel) {
  const auto folder = std::filesystem::path(CRIA_SOURCE_DIR) / "models" / "cria-stories-11m";
  const ModelConfig config = parsed(read_json(folder / "config.json"));
  EXPECT_EQ(config.vocab_size, 4096U);
  EXPECT_TRUE(config.tie_word_embeddings);
  const auto defaults = parse_generation_defaults(read_json(folder / "generation_config.json"), config.vocab_size, "g");
  ASSERT_TRUE(defaults) << defaults.error().message();
  EXPECT_EQ(defaults->do_sample, true);
  EXPECT_EQ(defaults->temperature, 0.7F);
  EXPECT_EQ(defaults->top_k, 40U);
  EXPECT_EQ(defaults->top_p, 0.95F);
  EXPECT_FALSE(defaults->min_p || defaults->repetition_penalty);
}

TEST(GenerationDefaults, RefusesValuesOutOfRange) {
  const struct {
    Json json;
    const char* phrase;
  } cases[] = {
      {Json::array(), "is not a JSON object"},
      {{{"temperature", -0.1}}, "\"temperature\" is -0.1, not a number from 0 to 100"},
      {{{"temperature", "hot"}}, "\"temperature\" is \"hot\""},
      {{{"top_p", 1.5}}, "\"top_p\" is 1.5, not a number from 0 to 1"},
      {{{"min_p", 2}}, "\"min_p\" is 2"},
      {{{"top_k", -1}}, "\"top_k\" is -1"},
      {{{"repetition_penalty", 0}}, "\"repetition_penalty\" is 0"},
      {{{"do_sample", 1}}, "\"do_sample\" is 1, not true or false"},
      {{{"eos_token_id", {2, 384}}}, "\"eos_token_id\" holds 384"},
  };
  for (const auto& test : cases) {
    const auto defaults = parse_generation_defaults(test.json, 384, "generation_config.json");
    ASSERT_FALSE(defaults) << test.json;
    EXPECT_EQ(defaults.error().code(), ErrorCode::kInvalidInput);
    EXPECT_NE(defaults.error().message().find(test.phrase), std::string::npos) << defaults.error().message();
  }
}

}  // namespace
}  // namespace cria::model
