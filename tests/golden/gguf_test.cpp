// Models that were written as GGUF files and as folders of blocks give what their originals give.
#include <gtest/gtest.h>

#include "engine/quantize.h"
#include "fixtures.h"
#include "golden/golden_values.h"
#include "temporary_folder.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

fs::path source_path(const char* name) { return fs::path(CRIA_SOURCE_DIR) / name; }

std::unique_ptr<engine::Engine> load(const fs::path& path, model::Precision precision = model::Precision::kAsStored) {
  engine::EngineOptions options;
  options.model.weights.precision = precision;
  options.model.kv = model::ModelOptions::Kv::kF32;
  auto engine = engine::Engine::load(path, options);
  EXPECT_TRUE(engine) << engine.error().message();
  return engine ? *std::move(engine) : nullptr;
}

using Rows = std::vector<std::vector<float>>;

/// Logits at every position of a text.
Rows logits_of(engine::Engine& engine, const std::vector<uint32_t>& tokens) {
  auto sequence = engine::Sequence::create(engine).value();
  auto rows = sequence.read_logits(tokens, static_cast<uint32_t>(tokens.size()));
  EXPECT_TRUE(rows) << rows.error().message();
  return rows ? *std::move(rows) : Rows();
}

float worst(const Rows& a, const Rows& b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, worst_difference(a[i], b[i]));
  return worst;
}

std::vector<fs::path> models() {
  std::vector<fs::path> models;
  for (const auto& folder : fixture_dirs("models")) {
    if (fs::exists(folder / "golden.safetensors")) models.push_back(folder);
  }
  return models;
}

/// What GGUF files have no words for.
bool cannot_be_said(const std::string& name) { return name == "llama-dynamic-f32" || name == "qwen2-sliding-f32"; }

class GoldenGguf : public testing::TestWithParam<fs::path> {};

/// Rows of Llama's queries and keys change their order, Llama 3's RoPE becomes a tensor of divisors, and all names and
/// the whole configuration go through the other format; nothing of it may change a logit.
TEST_P(GoldenGguf, GivesTheLogitsOfTheFolder) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "model.gguf";
  const auto written = engine::quantize(GetParam(), file, {.precision = model::Precision::kAsStored});
  if (cannot_be_said(GetParam().filename().string())) {
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code(), ErrorCode::kUnsupported) << written.error().message();
    EXPECT_TRUE(folder.names().empty());
    return;
  }
  ASSERT_TRUE(written) << written.error().message();
  const auto from_file = load(file);
  const auto from_folder = load(GetParam());
  ASSERT_TRUE(from_file != nullptr && from_folder != nullptr);
  auto golden = formats::Safetensors::open(GetParam() / "golden.safetensors");
  const auto prompt = values<uint32_t>(*golden, "input_ids");
  // The frequencies of RoPE go through f32 divisors: a relative 1e-7 of an angle of up to the length of the prompt.
  EXPECT_LE(worst(logits_of(*from_file, prompt), logits_of(*from_folder, prompt)), 1e-4F);
}

/// Blocks in a file are those that loading makes on the GPU, bit by bit; also with rows of an odd number of blocks,
/// which are padded.
TEST_P(GoldenGguf, Int8BlocksAreThoseThatLoadingMakes) {
  const std::string name = GetParam().filename().string();
  if (cannot_be_said(name) || name == "llama-odd-sizes-f32")
    GTEST_SKIP() << "it cannot be said, or has no whole blocks";
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "model.gguf";
  ASSERT_TRUE(engine::quantize(GetParam(), file, {.precision = model::Precision::kInt8}));
  const auto from_file = load(file);
  const auto from_folder = load(GetParam(), model::Precision::kInt8);
  ASSERT_TRUE(from_file != nullptr && from_folder != nullptr);
  EXPECT_EQ(from_file->model().memory_plan().weight_bytes, from_folder->model().memory_plan().weight_bytes);
  auto golden = formats::Safetensors::open(GetParam() / "golden.safetensors");
  const auto prompt = values<uint32_t>(*golden, "input_ids");
  EXPECT_EQ(logits_of(*from_file, prompt), logits_of(*from_folder, prompt));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenGguf, testing::ValuesIn(models()),
                         [](const auto& info) { return fixture_name(models(), info.param); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenGguf);

class Quantized : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    original_ = load(source_path("models/cria-stories-11m"));
    prompt_ = original_->tokenizer().encode("Once upon a time there was a little girl named Lily.").value();
    expected_ = logits_of(*original_, prompt_);
  }
  static void TearDownTestSuite() { original_ = nullptr; }

  static inline std::unique_ptr<engine::Engine> original_;
  static inline std::vector<uint32_t> prompt_;
  static inline Rows expected_;
};

TEST_F(Quantized, BothFormatsHoldTheSameBlocks) {
  const fs::path source = source_path("models/cria-stories-11m");
  for (const auto precision : {model::Precision::kInt8, model::Precision::kInt4, model::Precision::kF16}) {
    SCOPED_TRACE(model::precision_name(precision));
    const TemporaryFolder folder;
    ASSERT_TRUE(engine::quantize(source, folder.path() / "m.gguf", {.precision = precision}));
    ASSERT_TRUE(engine::quantize(source, folder.path() / "m", {.precision = precision}));
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"m", "m.gguf"}));
    const auto file = load(folder.path() / "m.gguf");
    const auto blocks = load(folder.path() / "m");
    ASSERT_TRUE(file != nullptr && blocks != nullptr);
    const Rows from_file = logits_of(*file, prompt_);
    EXPECT_EQ(from_file, logits_of(*blocks, prompt_));
    // Tokens at random differ by about 10: these bounds are those of the formats, measured, and doubled.
    const float bound = precision == model::Precision::kF16 ? 0 : precision == model::Precision::kInt8 ? 0.5F : 4;
    EXPECT_LE(worst(from_file, expected_), bound);
    EXPECT_EQ(file->tokenizer().encode("One day, Tim saw 3 dogs!").value(),
              original_->tokenizer().encode("One day, Tim saw 3 dogs!").value());
    EXPECT_EQ(file->config().eos_token_ids, original_->config().eos_token_ids);
    EXPECT_EQ(file->defaults().top_k, original_->defaults().top_k);
  }
}

TEST_F(Quantized, AGgufFileCanBeAFolderAgainAndAnotherFile) {
  const TemporaryFolder folder;
  const fs::path first = folder.path() / "a.gguf";
  ASSERT_TRUE(
      engine::quantize(source_path("models/cria-stories-11m"), first, {.precision = model::Precision::kAsStored}));
  for (const char* name : {"back", "b.gguf"}) {
    const auto written = engine::quantize(first, folder.path() / name, {.precision = model::Precision::kAsStored});
    ASSERT_TRUE(written) << written.error().message();
    const auto again = load(folder.path() / name);
    ASSERT_TRUE(again != nullptr);
    EXPECT_EQ(logits_of(*again, prompt_), expected_) << name;
    EXPECT_EQ(again->tokenizer().encode("Hello  <s> w\u00f6rld").value(),
              original_->tokenizer().encode("Hello  <s> w\u00f6rld").value());
  }
}

TEST_F(Quantized, TheOutputIsNeverTheInput) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "a.gguf";
  ASSERT_TRUE(engine::quantize(source_path("models/cria-stories-11m"), file, {.precision = model::Precision::kInt8}));
  fs::create_symlink(file, folder.path() / "soft.gguf");
  fs::create_hard_link(file, folder.path() / "hard.gguf");
  fs::create_directory_symlink(folder.path(), folder.path() / "loop");
  for (const char* name : {"a.gguf", "soft.gguf", "hard.gguf", "loop/a.gguf", "./a.gguf"}) {
    const auto written = engine::quantize(file, folder.path() / name, {.precision = model::Precision::kInt4});
    ASSERT_FALSE(written) << name;
    EXPECT_NE(written.error().message().find("is what is being read"), std::string::npos) << written.error().message();
  }
  const auto onto_folder = engine::quantize(file, folder.path(), {.precision = model::Precision::kInt4});
  ASSERT_FALSE(onto_folder);
  EXPECT_NE(onto_folder.error().message().find("exists already"), std::string::npos) << onto_folder.error().message();
  const auto nowhere = engine::quantize(file, folder.path() / "no/where.gguf", {.precision = model::Precision::kInt4});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a.gguf", "hard.gguf", "loop", "soft.gguf"}));
}

}  // namespace
}  // namespace cria
