// Configurations from GGUF files: what the metadata say, what they leave out, and what is refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <map>

#include "gguf_text.h"
#include "model/gguf_checkpoint.h"
#include "model/gguf_export.h"
#include "model/gguf_names.h"
#include "temporary_folder.h"

namespace cria::model {
namespace {

/// The metadata of a Llama of 2 heads of 4; each can be replaced, or left out with an empty value.
class TinyGguf {
 public:
  TinyGguf() {
    u32("llama.context_length", 64).u32("llama.embedding_length", 8).u32("llama.block_count", 2);
    u32("llama.feed_forward_length", 16).u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1);
    set("llama.attention.layer_norm_rms_epsilon", 6, raw(1e-5F));
    string("general.architecture", "llama");
  }
  TinyGguf& set(const std::string& key, uint32_t type, const std::string& value) {
    fields_[key] = {type, value};
    return *this;
  }
  TinyGguf& u32(const std::string& key, uint32_t value) { return set(key, 4, raw(value)); }
  TinyGguf& f32(const std::string& key, float value) { return set(key, 6, raw(value)); }
  TinyGguf& string(const std::string& key, const std::string& value) { return set(key, 8, gguf_string(value)); }
  TinyGguf& remove(const std::string& key) {
    fields_.erase(key);
    return *this;
  }
  TinyGguf& tensor(const std::string& name, std::vector<uint64_t> dimensions, const std::vector<float>& values) {
    tensors_.push_back({name, std::move(dimensions), values});
    return *this;
  }
  /// Renames all "llama." keys.
  TinyGguf& architecture(const std::string& name) {
    std::map<std::string, std::pair<uint32_t, std::string>> renamed;
    for (const auto& [key, value] : fields_) renamed[key.starts_with("llama.") ? name + key.substr(5) : key] = value;
    fields_ = renamed;
    return string("general.architecture", name);
  }

  [[nodiscard]] Result<ModelConfig> config() const {
    GgufText text;
    for (const auto& [key, value] : fields_) text.field(key, value.first, value.second);
    text.tensor("token_embd.weight", {8, 10}, 0, std::string(320, '\0'));
    for (const auto& [name, dimensions, values] : tensors_) {
      text.tensor(name, dimensions, 0,
                  std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
    }
    const TemporaryFolder folder;
    CRIA_TRY_ASSIGN(const GgufCheckpoint checkpoint, GgufCheckpoint::open(folder.write("x.gguf", text.file())));
    return checkpoint.config();
  }

 private:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dimensions;
    std::vector<float> values;
  };
  std::map<std::string, std::pair<uint32_t, std::string>> fields_;
  std::vector<Tensor> tensors_;
};

void expect_refused(const TinyGguf& gguf, std::string_view phrase) {
  const std::clock_t before = std::clock();
  const auto config = gguf.config();
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.25);
  ASSERT_FALSE(config) << "accepted, but should say: " << phrase;
  const std::string message = config.error().message();
  EXPECT_TRUE(message.starts_with("x.gguf: ")) << message;
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
}

TEST(GgufConfig, SaysWhatTheMetadataSay) {
  const auto config = TinyGguf().config();
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->architecture, Architecture::kLlama);
  EXPECT_EQ(config->hidden_size, 8U);
  EXPECT_EQ(config->intermediate_size, 16U);
  EXPECT_EQ(config->num_layers, 2U);
  EXPECT_EQ(config->num_heads, 2U);
  EXPECT_EQ(config->num_kv_heads, 1U);
  EXPECT_EQ(config->head_dim, 4U);
  EXPECT_EQ(config->vocab_size, 10U);
  EXPECT_EQ(config->max_position_embeddings, 64U);
  EXPECT_EQ(config->rms_norm_eps, 1e-5F);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FALSE(config->qkv_bias);
  EXPECT_EQ(config->rope.theta, 10000);
  EXPECT_EQ(config->rope.scaling, RopeScaling::kNone);
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_FALSE(config->bos_token_id.has_value());
}

TEST(GgufConfig, TakesWhatTheTensorsAdd) {
  const auto config = TinyGguf()
                          .tensor("output.weight", {8, 10}, std::vector<float>(80))
                          .tensor("blk.0.attn_q.bias", {8}, std::vector<float>(8))
                          .tensor("rope_freqs.weight", {2}, {1, 4})
                          .config();
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_TRUE(config->qkv_bias);
  EXPECT_FALSE(config->o_bias);
  const auto frequencies = rope_frequencies(*config, 1).inverse_frequencies;
  EXPECT_FLOAT_EQ(frequencies[0], 1);
  EXPECT_FLOAT_EQ(frequencies[1], 0.01F / 4);
}

TEST(GgufConfig, KnowsItsFamilies) {
  const auto qwen2 = TinyGguf().architecture("qwen2").config();
  ASSERT_TRUE(qwen2) << qwen2.error().message();
  EXPECT_EQ(qwen2->architecture, Architecture::kQwen2);
  EXPECT_TRUE(qwen2->qkv_bias);
  const auto qwen3 = TinyGguf().architecture("qwen3").u32("qwen3.attention.key_length", 16).config();
  ASSERT_TRUE(qwen3) << qwen3.error().message();
  EXPECT_TRUE(qwen3->qk_norm);
  EXPECT_EQ(qwen3->head_dim, 16U);
  const auto mistral = TinyGguf().u32("llama.attention.sliding_window", 32).config();
  ASSERT_TRUE(mistral) << mistral.error().message();
  EXPECT_EQ(mistral->architecture, Architecture::kMistral);
  EXPECT_EQ(mistral->sliding_window, (std::vector<uint32_t>{32, 32}));
  EXPECT_EQ(TinyGguf().u32("llama.attention.sliding_window", 64).config()->sliding_window,
            (std::vector<uint32_t>{0, 0}));
  expect_refused(TinyGguf().architecture("gemma3"), "the architecture \"gemma3\" is not supported; llama, qwen2 and");
  expect_refused(TinyGguf().remove("general.architecture"), "\"general.architecture\" is missing");
}

TEST(GgufConfig, ReadsTheScalingOfRope) {
  const auto linear = TinyGguf().string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4);
  EXPECT_EQ(linear.config()->rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear.config()->rope.factor, 4);
  EXPECT_EQ(TinyGguf().f32("llama.rope.scale_linear", 2).config()->rope.factor, 2);
  EXPECT_EQ(
      TinyGguf().string("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 2).config()->rope.scaling,
      RopeScaling::kNone);
  const auto yarn = TinyGguf()
                        .string("llama.rope.scaling.type", "yarn")
                        .f32("llama.rope.scaling.factor", 4)
                        .u32("llama.rope.scaling.original_context_length", 16)
                        .config();
  ASSERT_TRUE(yarn) << yarn.error().message();
  EXPECT_EQ(yarn->rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(yarn->rope.original_max_position, 16);
  EXPECT_NEAR(yarn->rope.attention_factor, 0.1 * std::log(4.0) + 1, 1e-9);
  expect_refused(TinyGguf().string("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.yarn_ext_factor", 0),
                 "\"llama.rope.scaling.yarn_ext_factor\": 0 is not supported");
  expect_refused(TinyGguf().string("llama.rope.scaling.type", "longrope"), "is \"longrope\", which is not supported");
  expect_refused(TinyGguf().f32("llama.rope.freq_base", 0), "\"llama.rope.freq_base\" is 0, not");
  expect_refused(TinyGguf().f32("llama.rope.freq_base", NAN), "\"llama.rope.freq_base\" is nan, not");
}

TEST(GgufConfig, SizesOutOfRangeAreRefusedByName) {
  for (const char* name :
       {"context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"}) {
    const std::string key = std::string("llama.") + name;
    const std::string quoted = "\"" + key + "\"";
    expect_refused(TinyGguf().remove(key), quoted + " is missing");
    expect_refused(TinyGguf().u32(key, 0), quoted + " is 0");
    expect_refused(TinyGguf().u32(key, UINT32_MAX), quoted + " is 4294967295");
    expect_refused(TinyGguf().set(key, 5, raw(int32_t{-1})), quoted + " is -1");
    expect_refused(TinyGguf().set(key, 11, raw(int64_t{-1})), quoted + " is -1");
    expect_refused(TinyGguf().set(key, 10, raw(~uint64_t{0})), quoted + " is 18446744073709551615");
    expect_refused(TinyGguf().f32(key, 8), quoted + " is 8, not");
    expect_refused(TinyGguf().string(key, "8"), quoted + " is \"8\", not");
  }
  for (const uint32_t wrong : {0U, UINT32_MAX}) {
    expect_refused(TinyGguf().u32("llama.attention.head_count_kv", wrong), "\"llama.attention.head_count_kv\" is ");
  }
  expect_refused(
      TinyGguf().u32("llama.attention.head_count", 1).u32("llama.attention.head_count_kv", 2),
      "\"llama.attention.head_count\" is 1, not a multiple of \"llama.attention.head_count_kv\", which is 2");
  expect_refused(TinyGguf().u32("llama.attention.head_count", 3), "\"llama.embedding_length\" is 8, not a multiple of");
  expect_refused(TinyGguf().u32("llama.rope.dimension_count", 8),
                 "\"llama.rope.dimension_count\" is 8, but heads are of 4");
  expect_refused(TinyGguf().u32("llama.rope.dimension_count", 2), "is 2, but heads are of 4");
  expect_refused(TinyGguf().u32("llama.attention.key_length", 513), "is 513, not a whole number from 1 to 512");
  expect_refused(TinyGguf().u32("llama.attention.key_length", 5).u32("llama.attention.value_length", 5), "heads of 5");
  expect_refused(TinyGguf().f32("llama.attention.layer_norm_rms_epsilon", -1), "is -1, not");
  expect_refused(TinyGguf().remove("llama.attention.layer_norm_rms_epsilon"), "is missing");
}

TEST(GgufConfig, ListsOfLayersMustAgree) {
  const auto list = [](std::vector<uint32_t> values) {
    std::string bytes = raw(4U) + raw(uint64_t{values.size()});
    for (const uint32_t value : values) bytes += raw(value);
    return bytes;
  };
  EXPECT_EQ(TinyGguf().set("llama.feed_forward_length", 9, list({16, 16})).config()->intermediate_size, 16U);
  expect_refused(TinyGguf().set("llama.feed_forward_length", 9, list({16, 32})),
                 "\"llama.feed_forward_length\" differs from layer to layer");
  expect_refused(TinyGguf().set("llama.attention.head_count_kv", 9, list({1, 2})), "differs from layer to layer");
}

TEST(GgufConfig, WhatIsNotImplementedIsRefusedByName) {
  expect_refused(TinyGguf().u32("llama.expert_count", 8), "\"llama.expert_count\" is 8: mixtures of experts");
  expect_refused(TinyGguf().f32("llama.logit_scale", 2), "\"llama.logit_scale\": 2 is not supported");
  EXPECT_TRUE(TinyGguf().u32("llama.expert_count", 0).f32("llama.logit_scale", 1).config());
  expect_refused(TinyGguf().tensor("rope_freqs.weight", {3}, {1, 1, 1}), "does not hold 2 numbers of type F32");
  expect_refused(TinyGguf().tensor("rope_freqs.weight", {2}, {1, 0}), "holds 0, not a divisor from 1e-6 to 1e6");
  expect_refused(TinyGguf().tensor("rope_freqs.weight", {2}, {NAN, 1}), "holds nan, not a divisor");
}

TEST(GgufConfig, SpecialTokensOutsideTheVocabularyAreRefused) {
  for (const char* name : {"bos", "eos", "eot", "eom"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    expect_refused(TinyGguf().u32(key, 10), "\"" + key + "\" is 10, not a whole number from 0 to 9");
    expect_refused(TinyGguf().u32(key, UINT32_MAX), "\"" + key + "\" is 4294967295");
    expect_refused(TinyGguf().set(key, 5, raw(int32_t{-1})), "\"" + key + "\" is -1");
  }
  const auto config = TinyGguf()
                          .u32("tokenizer.ggml.bos_token_id", 9)
                          .u32("tokenizer.ggml.eos_token_id", 3)
                          .u32("tokenizer.ggml.eot_token_id", 4);
  EXPECT_EQ(config.config()->bos_token_id, 9U);
  EXPECT_EQ(config.config()->eos_token_ids, (std::vector<uint32_t>{3, 4}));
}

TEST(GgufNames, GoBothWays) {
  const std::pair<const char*, const char*> names[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output.weight", "lm_head.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"},
      {"blk.12.attn_k.bias", "model.layers.12.self_attn.k_proj.bias"},
      {"blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"},
      {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
      {"blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"}};
  for (const auto& [gguf, huggingface] : names) {
    EXPECT_EQ(huggingface_name(gguf), huggingface);
    EXPECT_EQ(gguf_name(huggingface), gguf);
  }
  for (const char* odd : {"", ".", "blk..attn_q.weight", "blk.x.attn_q.weight", "blk.0.weight", "blk.0attn_q.weight",
                          "blk.0.attn_q", "blk.0.attn_z.weight", "output.scale"}) {
    EXPECT_EQ(huggingface_name(odd), std::nullopt) << odd;
  }
}

}  // namespace
}  // namespace cria::model
