// Whole GGUF models, opened with configuration, tensors and tokenizer: damaged at any place they are refused or sound.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "engine/engine.h"
#include "gguf_text.h"
#include "resource_limits.h"
#include "temporary_folder.h"

namespace cria::engine {
namespace {

/// A Llama of one layer, 2 heads of 16, with a SentencePiece or byte-level vocabulary of 268 tokens.
std::string tiny_model(bool sentence_piece) {
  GgufText text;
  text.string("general.architecture", "llama").string("general.name", "tiny");
  text.u32("llama.context_length", 64).u32("llama.embedding_length", 32).u32("llama.block_count", 1);
  text.u32("llama.feed_forward_length", 32).u32("llama.attention.head_count", 2);
  text.u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  text.u32("llama.rope.dimension_count", 16).f32("llama.rope.freq_base", 10000);
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    tokens.push_back(sentence_piece ? fmt::format("<0x{:02X}>", byte) : text::spell_bytes({&value, 1}));
    types.push_back(sentence_piece ? 6 : 1);
    scores.push_back(0);
  }
  for (const char* piece : {"\u2581", "aa", "ab", "\u2581a", "aab", "aaa", "bb", "abb", "<user>"}) {
    tokens.emplace_back(piece);
    types.push_back(piece[0] == '<' ? 4 : 1);
    scores.push_back(-static_cast<float>(tokens.size()));
  }
  text.string("tokenizer.ggml.model", sentence_piece ? "llama" : "gpt2");
  if (!sentence_piece)
    text.string("tokenizer.ggml.pre", "gpt-2").strings("tokenizer.ggml.merges", {"a a", "a b", "b b"});
  text.strings("tokenizer.ggml.tokens", tokens).numbers<float>("tokenizer.ggml.scores", 6, scores);
  text.numbers<int32_t>("tokenizer.ggml.token_type", 5, types);
  text.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  text.string("tokenizer.chat_template", "{{ messages }}");
  const auto matrix = [&](const std::string& name, uint64_t rows) {
    text.tensor(name, {32, rows}, 2, std::string(rows * 18, '\1'));
  };
  const auto norm = [&](const std::string& name) { text.tensor(name, {32}, 0, std::string(128, '\0')); };
  matrix("token_embd.weight", tokens.size());
  norm("blk.0.attn_norm.weight");
  matrix("blk.0.attn_q.weight", 32);
  matrix("blk.0.attn_k.weight", 16);
  matrix("blk.0.attn_v.weight", 16);
  matrix("blk.0.attn_output.weight", 32);
  norm("blk.0.ffn_norm.weight");
  for (const char* name : {"gate", "up", "down"}) matrix(fmt::format("blk.0.ffn_{}.weight", name), 32);
  norm("output_norm.weight");
  text.tensor("rope_freqs.weight", {8}, 0,
              std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4) +
                  std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4) +
                  std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4));
  return text.file();
}

/// Opens everything of a model that needs no GPU.
Status open_all(const std::filesystem::path& path) {
  CRIA_TRY_ASSIGN(const OpenedModel opened, open_model(path));
  CRIA_TRY_ASSIGN(const text::Tokenizer tokenizer, opened.files.tokenizer());
  CRIA_TRY(opened.files.chat_template());
  CRIA_TRY_ASSIGN(const auto ids, tokenizer.encode("aab <s>b \u00e9<user>", {.add_special_tokens = true}));
  CRIA_TRY(tokenizer.decode(ids, true));
  return {};
}

TEST(GgufFiles, OpenWhole) {
  const TemporaryFolder folder;
  for (const bool sentence_piece : {true, false}) {
    const auto path = folder.write("m.gguf", tiny_model(sentence_piece));
    const Status status = open_all(path);
    ASSERT_TRUE(status) << status.error().message();
    const auto opened = open_model(path).value();
    EXPECT_EQ(opened.config.rope.divisors.size(), 8U);
    EXPECT_EQ(opened.files.chat_template().value(), "{{ messages }}");
    EXPECT_EQ(opened.config.eos_token_ids, std::vector<uint32_t>{2});
    EXPECT_EQ(opened.files.checkpoint().find("model.layers.0.self_attn.k_proj.weight")->paired_rows, 16U);
    EXPECT_EQ(opened.files.checkpoint().find("model.layers.0.self_attn.v_proj.weight")->paired_rows, 0U);
  }
}

TEST(GgufFiles, TruncatedAnywhereAreRefused) {
  const TemporaryFolder folder;
  const std::string file = tiny_model(true);
  for (size_t size = 0; size < file.size(); size += size < 9000 ? 7 : 101) {
    const Status status = open_all(folder.write("m.gguf", std::string_view(file).substr(0, size)));
    ASSERT_FALSE(status) << size;
    EXPECT_TRUE(status.error().message().starts_with("m.gguf: ")) << status.error().message();
  }
}

/// A file with other bytes behind the first place of `before`.
std::string patched(std::string file, const std::string& before, const std::string& bytes) {
  const size_t at = file.find(before);
  EXPECT_NE(at, std::string::npos);
  return at == std::string::npos ? file : file.replace(at + before.size(), bytes.size(), bytes);
}

std::string with_u32(const std::string& key, uint32_t value) {
  return patched(tiny_model(true), gguf_string(key) + raw(4U), raw(value));
}

/// An array of a known key whose elements take the same bytes and are of another type.
std::string with_element_type(const std::string& key, uint32_t type) {
  return patched(tiny_model(true), gguf_string(key) + raw(9U), raw(type));
}

TEST(GgufFiles, WrongValuesOfKnownKeysAreRefusedInLittleTimeAndMemory) {
  struct Case {
    std::string file, phrase;
  };
  std::vector<Case> cases;
  for (const char* name : {"context_length", "embedding_length", "block_count", "feed_forward_length",
                           "attention.head_count", "attention.head_count_kv"}) {
    const std::string key = fmt::format("llama.{}", name);
    for (const uint32_t value : {0U, UINT32_MAX, 1U << 31}) {
      cases.push_back({with_u32(key, value), fmt::format("\"{}\" is {}", key, value)});
    }
  }
  cases.push_back({with_u32("llama.embedding_length", 1), "\"llama.embedding_length\" is 1, not a multiple of"});
  cases.push_back({with_u32("llama.block_count", 2), "has no tensor \"blk.1."});
  cases.push_back({with_u32("llama.feed_forward_length", 1), "has the shape [32, 32]; the configuration makes it"});
  cases.push_back({with_u32("llama.attention.head_count", 1), "\"llama.rope.dimension_count\" is 16, but heads"});
  cases.push_back({with_u32("llama.attention.head_count_kv", 2), "has the shape [16, 32]; the configuration makes"});
  cases.push_back({with_u32("llama.attention.head_count", 3), "\"llama.embedding_length\" is 32, not a multiple of"});
  cases.push_back({with_u32("llama.rope.dimension_count", 32), "\"llama.rope.dimension_count\" is 32, but heads"});
  for (const char* token : {"bos", "eos"}) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", token);
    for (const uint32_t id : {268U, UINT32_MAX}) {
      cases.push_back({with_u32(key, id), fmt::format("\"{}\" is {}", key, id)});
    }
  }
  cases.push_back(
      {with_element_type("tokenizer.ggml.scores", 4), "values of type uint32, not an array of type float32"});
  cases.push_back({with_element_type("tokenizer.ggml.token_type", 6), "values of type float32, not a list of whole"});
  const TemporaryFolder folder;
  for (const Case& test : cases) {
    SCOPED_TRACE(test.phrase);
    const auto path = folder.write("m.gguf", test.file);
    expect_little_used([&] {
      const Status status = open_all(path);
      ASSERT_FALSE(status);
      EXPECT_NE(status.error().message().find(test.phrase), std::string::npos) << status.error().message();
    });
  }
}

TEST(GgufFiles, MutatedAreRefusedOrSound) {
  const TemporaryFolder folder;
  std::mt19937_64 random(7);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  size_t accepted = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string file = tiny_model(i % 2 == 0);
    for (size_t changes = 1 + below(3); changes > 0; --changes) {
      const size_t at = below(9000);  // the header
      switch (below(4)) {
        case 0: file[at] = static_cast<char>(random()); break;
        case 1: file[at] = static_cast<char>(file[at] ^ (1 << below(8))); break;
        case 2: std::memset(file.data() + at, static_cast<int>(random()), 1 + below(9)); break;
        default: file.replace(at, 4, file.substr(below(9000), 4)); break;
      }
    }
    const Status status = open_all(folder.write("m.gguf", file));
    accepted += status.has_value();
    if (!status) {
      ASSERT_GT(status.error().message().size(), 10U);
      ASSERT_LT(status.error().message().size(), 1000U) << status.error().message();
    }
  }
  EXPECT_GT(accepted, 100U);  // many bytes are of tokens and scores
  EXPECT_LT(accepted, 1900U);
}

}  // namespace
}  // namespace cria::engine
