// Models in Q4_K, Q5_K and Q6_K, mixed as published files mix them, give the logits of their weights decoded to f32.
#include <gtest/gtest.h>

#include <random>

#include "engine/quantize.h"
#include "gguf_text.h"
#include "golden/golden_values.h"
#include "quant/block_formats.h"
#include "temporary_folder.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
using model::Precision;
using MatrixUnits = model::ModelOptions::MatrixUnits;
using Rows = std::vector<std::vector<float>>;

constexpr uint32_t kHidden = 256;
constexpr uint32_t kIntermediate = 512;
constexpr uint32_t kLayers = 2;
constexpr uint32_t kVocabulary = 259;
constexpr uint32_t kTokens = 40;

/// The types of a model's matrices; "" is F32.
struct Types {
  std::string embedding, output, q, k, v, o, gate, up, down;
};

/// As in files called Q4_K_M: more bits for values, the MLP's second matrix and the output.
const Types kMixed = {.embedding = "Q4_K",
                      .output = "Q6_K",
                      .q = "Q4_K",
                      .k = "Q4_K",
                      .v = "Q6_K",
                      .o = "Q5_K",
                      .gate = "Q4_K",
                      .up = "Q4_K",
                      .down = "Q6_K"};

/// Writes tensors of random weights.
class Writer {
 public:
  void floats(const std::string& name, const std::vector<uint64_t>& dimensions, const std::vector<float>& values) {
    const char* bytes = reinterpret_cast<const char*>(values.data());
    text.tensor(name, dimensions, 0, {bytes, values.size() * sizeof(float)});
  }
  void norm(const std::string& name) { floats(name, {kHidden}, std::vector<float>(kHidden, 1)); }
  void bias(const std::string& name, uint64_t rows) { floats(name, {rows}, random(rows, 0.5F)); }
  void matrix(const std::string& name, const std::string& type, uint64_t rows, uint64_t columns) {
    const std::vector<float> values = random(rows * columns, 0.08F);
    if (type.empty()) return floats(name, {columns, rows}, values);
    const quant::BlockFormat& format = *quant::find_block_format(type);
    std::string blocks(values.size() / format.elements * format.bytes, '\0');
    format.encode(values, reinterpret_cast<std::byte*>(blocks.data()));
    text.tensor(name, {columns, rows}, type == "Q4_K" ? 12 : type == "Q5_K" ? 13 : 14, blocks);
  }

  GgufText text;

 private:
  std::vector<float> random(uint64_t count, float size) {
    std::vector<float> values(count);
    for (float& value : values) value = size * (static_cast<float>(random_() >> 8) * 0x1p-23F - 1);
    return values;
  }
  std::mt19937 random_{1};
};

/// A Llama with biases of q, k and v, whose tokens are bytes.
std::string model_file(const Types& types) {
  Writer writer;
  GgufText& text = writer.text;
  text.string("general.architecture", "llama").u32("llama.context_length", 128);
  text.u32("llama.embedding_length", kHidden).u32("llama.block_count", kLayers);
  text.u32("llama.feed_forward_length", kIntermediate).u32("llama.attention.head_count", 4);
  text.u32("llama.attention.head_count_kv", 2).f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    kinds.push_back(6);
  }
  text.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  text.numbers<float>("tokenizer.ggml.scores", 6, std::vector<float>(tokens.size()));
  text.numbers<int32_t>("tokenizer.ggml.token_type", 5, kinds);
  writer.matrix("token_embd.weight", types.embedding, kVocabulary, kHidden);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    writer.norm(block + "attn_norm.weight");
    writer.norm(block + "ffn_norm.weight");
    writer.matrix(block + "attn_q.weight", types.q, kHidden, kHidden);
    writer.matrix(block + "attn_k.weight", types.k, kHidden / 2, kHidden);
    writer.matrix(block + "attn_v.weight", types.v, kHidden / 2, kHidden);
    writer.bias(block + "attn_q.bias", kHidden);
    writer.bias(block + "attn_k.bias", kHidden / 2);
    writer.bias(block + "attn_v.bias", kHidden / 2);
    writer.matrix(block + "attn_output.weight", types.o, kHidden, kHidden);
    writer.matrix(block + "ffn_gate.weight", types.gate, kIntermediate, kHidden);
    writer.matrix(block + "ffn_up.weight", types.up, kIntermediate, kHidden);
    writer.matrix(block + "ffn_down.weight", types.down, kHidden, kIntermediate);
  }
  writer.norm("output_norm.weight");
  writer.matrix("output.weight", types.output, kVocabulary, kHidden);
  return text.file();
}

class KQuants : public testing::Test {
 protected:
  fs::path write(const std::string& name, const Types& types) {
    return folder_.write(name + ".gguf", model_file(types));
  }
  static std::unique_ptr<engine::Engine> load(const fs::path& path, Precision precision = Precision::kAsStored,
                                              MatrixUnits matrix_units = MatrixUnits::kOff) {
    engine::EngineOptions options;
    options.model.weights.precision = precision;
    options.model.matrix_units = matrix_units;
    options.model.kv = model::ModelOptions::Kv::kF32;
    auto engine = engine::Engine::load(path, options);
    EXPECT_TRUE(engine) << engine.error().message();
    return engine ? *std::move(engine) : nullptr;
  }
  static std::vector<uint32_t> tokens() {
    std::vector<uint32_t> ids;
    for (uint32_t i = 0; i < kTokens; ++i) ids.push_back((i * 97 + 5) % kVocabulary);
    return ids;
  }
  /// Logits at every position, read as a prompt.
  static Rows prompt_logits(engine::Engine& engine) {
    auto sequence = engine::Sequence::create(engine).value();
    return sequence.read_logits(tokens(), kTokens).value();
  }
  /// The same, a token in each pass.
  static Rows step_logits(engine::Engine& engine) {
    gpu::Device& device = engine.device();
    model::Model& model = engine.model();
    EXPECT_TRUE(model.kv_cache().reserve(device, 0, kTokens));
    Rows rows;
    for (uint32_t position = 0; position < kTokens; ++position) {
      const model::Batch batch{.tokens = {tokens()[position]},
                               .positions = {position},
                               .slots = {0},
                               .output_rows = {0},
                               .rope_length = kTokens};
      gpu::Recorder recorder = device.record("step");
      EXPECT_TRUE(model.forward(device, recorder, batch));
      EXPECT_TRUE(recorder.submit());
      std::vector<float>& row = rows.emplace_back(kVocabulary);
      const auto bytes = device.read(model.logits().buffer, 0, row.size() * sizeof(float)).value();
      std::memcpy(row.data(), bytes.data(), bytes.size());
    }
    return rows;
  }
  /// `share` of the largest logit, for each of the `places` where something is rounded so much: errors that do not
  /// conspire add up like their squares, and four times that is never met by chance.
  static void expect_near(const Rows& rows, const Rows& expected, float share, float places) {
    ASSERT_EQ(rows.size(), expected.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      float largest = 0;
      for (const float logit : expected[i]) largest = std::max(largest, std::abs(logit));
      ASSERT_GT(largest, 0.1F);
      EXPECT_LE(worst_difference(rows[i], expected[i]), 4 * std::sqrt(places) * share * largest) << "position " << i;
    }
  }

  const TemporaryFolder folder_;
};

constexpr float kProducts = 4 * kLayers + 1;  // of a pass

TEST_F(KQuants, GiveTheLogitsOfTheirWeightsInF32) {
  const fs::path file = write("mixed", kMixed);
  const auto decoded = load(file, Precision::kF32);
  const auto blocks = load(file);
  ASSERT_TRUE(decoded != nullptr && blocks != nullptr);
  const Rows expected = prompt_logits(*decoded);
  // Of a prompt, the same numbers are multiplied: f32 keeps 24 bits.
  expect_near(prompt_logits(*blocks), expected, 0x1p-20F, kProducts);
  // In a decode step x is rounded to 1/254 of the largest of 32.
  expect_near(step_logits(*blocks), expected, 1.0F / 254, kProducts);
}

TEST_F(KQuants, GiveTheSameOnMatrixUnits) {
  const fs::path file = write("mixed", kMixed);
  const auto decoded = load(file, Precision::kF32);
  ASSERT_NE(decoded, nullptr);
  if (decoded->device().info().matrix_shapes.empty()) GTEST_SKIP() << "this device has no matrix units";
  const auto blocks = load(file, Precision::kAsStored, MatrixUnits::kOn);
  ASSERT_NE(blocks, nullptr);
  // Both operands of products, and what attention multiplies, are rounded to f16.
  const Rows expected = prompt_logits(*decoded);
  expect_near(prompt_logits(*blocks), expected, 0x1p-10F, 2 * kProducts);
}

TEST_F(KQuants, TakeTheMemoryOfTheFile) {
  const fs::path file = write("mixed", kMixed);
  const auto opened = engine::open_model(file).value();
  uint64_t bytes = 0;
  for (const std::string& name : opened.files.checkpoint().names()) {
    bytes += opened.files.checkpoint().find(name)->data.size();
  }
  const auto blocks = load(file);
  ASSERT_NE(blocks, nullptr);
  const auto placed = static_cast<double>(blocks->model().memory_plan().weight_bytes);
  EXPECT_NEAR(placed / static_cast<double>(bytes), 1, 0.01);
}

/// The rows of gate and up alternate in one matrix, which cannot have two formats.
TEST_F(KQuants, BecomeF16WhereGateAndUpDiffer) {
  Types types = kMixed;
  types.up = "Q5_K";
  const fs::path file = write("unlike", types);
  const auto decoded = load(file, Precision::kF32);
  const auto blocks = load(file);
  const auto alike = load(write("mixed", kMixed));
  ASSERT_TRUE(decoded != nullptr && blocks != nullptr && alike != nullptr);
  expect_near(prompt_logits(*blocks), prompt_logits(*decoded), 0x1p-11F, kProducts);
  const double per_weight = 16 - 4.5;
  EXPECT_EQ(blocks->model().memory_plan().weight_bytes - alike->model().memory_plan().weight_bytes,
            static_cast<uint64_t>(per_weight * 2 * kIntermediate * kHidden * kLayers / 8));
}

/// What `--weights` makes while loading is what `cria quantize` writes.
TEST_F(KQuants, AreMadeAlikeWhileLoadingAndInFiles) {
  const fs::path floats = write("f32", Types{});
  const auto original = load(floats);
  ASSERT_NE(original, nullptr);
  const Rows expected = prompt_logits(*original);
  // Half a step of a group's range: of 15, 31 and 63 steps; embedding, output, q, k and v have 63.
  for (const auto& [precision, steps] :
       {std::pair(Precision::kQ4_K, 15.0F), {Precision::kQ5_K, 31.0F}, {Precision::kQ6_K, 63.0F}}) {
    SCOPED_TRACE(model::precision_name(precision));
    const fs::path file = folder_.path() / fmt::format("{}.gguf", model::precision_name(precision));
    const auto written = engine::quantize(floats, file, {.precision = precision});
    ASSERT_TRUE(written) << written.error().message();
    const auto from_file = load(file);
    const auto from_floats = load(floats, precision);
    ASSERT_TRUE(from_file != nullptr && from_floats != nullptr);
    EXPECT_EQ(from_file->model().memory_plan().weight_bytes, from_floats->model().memory_plan().weight_bytes);
    const Rows rows = prompt_logits(*from_file);
    EXPECT_EQ(rows, prompt_logits(*from_floats));
    expect_near(rows, expected, 1 / steps, kProducts);
  }
}

}  // namespace
}  // namespace cria
