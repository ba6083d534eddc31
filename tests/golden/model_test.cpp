// Every fixture model gives the logits and greedy tokens that the reference implementation gave, with
// all features, with each masked, with tensors split into many shards, and read in any chunks.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "fixtures.h"
#include "golden/golden_values.h"

namespace cria {
namespace {

struct Setup {
  const char* name;
  const char* disabled;
  uint64_t binding_limit;
};
constexpr Setup kSetups[] = {
    {"all_features", "", 0},
    {"no_f16", "f16", 0},
    {"no_subgroups", "subgroups", 0},
    {"no_matrix_no_timestamps", "subgroup-matrix,timestamps", 0},
    {"nothing", "f16,subgroups,subgroup-matrix,timestamps,immediates", 0},
    {"tiny_bindings", "", 96 * 1024},
};

struct Golden {
  std::vector<uint32_t> prompt;
  std::vector<float> logits;  // [prompt, vocab]
  std::vector<uint32_t> greedy;
  std::vector<float> greedy_logits;  // [greedy, vocab]
};

Golden read_golden(const std::filesystem::path& model) {
  auto file = formats::Safetensors::open(model / "golden.safetensors");
  EXPECT_TRUE(file) << file.error().message();
  return {.prompt = values<uint32_t>(*file, "input_ids"),
          .logits = values<float>(*file, "logits"),
          .greedy = values<uint32_t>(*file, "greedy_ids"),
          .greedy_logits = values<float>(*file, "greedy_logits")};
}

std::vector<std::filesystem::path> golden_models() {
  std::vector<std::filesystem::path> models;
  for (const auto& folder : fixture_dirs("models")) {
    if (std::filesystem::exists(folder / "golden.safetensors")) models.push_back(folder);
  }
  return models;
}

engine::EngineOptions exact_options(const Setup& setup, const Golden& golden) {
  engine::EngineOptions options;
  options.device.disabled = *gpu::parse_features(setup.disabled);
  options.device.binding_limit = setup.binding_limit;
  options.model.kv = model::ModelOptions::Kv::kF32;                     // the reference's cache is f32
  options.model.matrix_units = model::ModelOptions::MatrixUnits::kOff;  // and so is all that it multiplies
  // With dynamic RoPE the golden text is longer than what the model was trained for.
  options.model.max_context = static_cast<uint32_t>(golden.prompt.size() + golden.greedy.size());
  return options;
}

/// How frequencies are rounded where a model of this checkpoint's type is cast to it; checkpoints of make_models.py
/// were loaded in f32.
model::RopeRounding rounding_of_casts(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  if (name == "llama-plain-f16" || name == "llama3-rope-exact-bf16") return model::RopeRounding::kNone;
  std::ifstream file(folder / "config.json");
  const auto config = nlohmann::json::parse(file);
  const auto type = config.value("dtype", config.value("torch_dtype", std::string()));
  if (type == "float16") return model::RopeRounding::kF16;
  return type == "bfloat16" ? model::RopeRounding::kBF16 : model::RopeRounding::kNone;
}

float top_two_gap(std::span<const float> logits) {
  std::vector<float> sorted(logits.begin(), logits.end());
  std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
  return sorted[0] - sorted[1];
}

class GoldenModel : public testing::TestWithParam<std::tuple<std::filesystem::path, Setup>> {
 protected:
  void SetUp() override {
    golden_ = read_golden(path());
    engine::EngineOptions options = exact_options(std::get<1>(GetParam()), golden_);
    load(options);
    // References of 16-bit checkpoints come in two kinds: loaded in f32, or the whole model cast to 16 bits and back.
    // The second has rounded inverse frequencies, which nothing but RoPE with the same ones can give.
    options.model.rope_rounding = rounding_of_casts(path());
    if (HasFatalFailure() || options.model.rope_rounding == model::RopeRounding::kNone) return;
    const bool is_cast = worst_of_prompt() > kLogitTolerance;
    RecordProperty("frequencies", is_cast ? "rounded" : "exact");
    if (is_cast) load(options);
  }
  void load(const engine::EngineOptions& options) {
    engine_ = nullptr;
    auto engine = engine::Engine::load(path(), options);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = *std::move(engine);
  }
  /// The largest difference at the prompt's positions.
  [[nodiscard]] float worst_of_prompt() const {
    auto sequence = engine::Sequence::create(*engine_);
    const auto rows = sequence->read_logits(golden_.prompt, static_cast<uint32_t>(golden_.prompt.size()));
    if (!rows) return INFINITY;
    float worst = 0;
    for (size_t i = 0; i < rows->size(); ++i) {
      worst = std::max(worst, worst_difference((*rows)[i], row(golden_.logits, i)));
    }
    return worst;
  }
  static const std::filesystem::path& path() { return std::get<0>(GetParam()); }
  [[nodiscard]] std::span<const float> row(const std::vector<float>& logits, size_t index) const {
    return logits_row(logits, index, engine_->config().vocab_size);
  }

  Golden golden_;
  std::unique_ptr<engine::Engine> engine_;
};

TEST_P(GoldenModel, LogitsOfEveryPromptPosition) {
  auto sequence = engine::Sequence::create(*engine_);
  ASSERT_TRUE(sequence) << sequence.error().message();
  const auto rows = sequence->read_logits(golden_.prompt, static_cast<uint32_t>(golden_.prompt.size()));
  ASSERT_TRUE(rows) << rows.error().message();
  ASSERT_EQ(rows->size(), golden_.prompt.size());
  for (size_t i = 0; i < rows->size(); ++i) {
    EXPECT_LE(worst_difference((*rows)[i], row(golden_.logits, i)), kLogitTolerance) << "at position " << i;
  }
}

TEST_P(GoldenModel, GreedyTokens) {
  auto sequence = engine::Sequence::create(*engine_);
  ASSERT_TRUE(sequence) << sequence.error().message();
  const engine::GenerateOptions options = greedy_options(golden_.greedy.size());
  std::vector<uint32_t> tokens;
  const auto stats = sequence->generate(golden_.prompt, options, [&](uint32_t token) {
    tokens.push_back(token);
    return true;
  });
  ASSERT_TRUE(stats) << stats.error().message();
  ASSERT_EQ(tokens.size(), golden_.greedy.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    // Where the two best are closer than twice the tolerance either may win, and the texts part.
    if (top_two_gap(row(golden_.greedy_logits, i)) <= 2 * kLogitTolerance) break;
    EXPECT_EQ(tokens[i], golden_.greedy[i]) << "at step " << i;
  }
}

TEST_P(GoldenModel, DecodeAndChunksGiveTheSameLogits) {
  if (engine_->config().rope.scaling == model::RopeScaling::kDynamic) {
    GTEST_SKIP() << "with dynamic RoPE a key depends on how much was known when it was read";
  }
  // Token by token (the decode kernels), then in uneven chunks (the prefill kernels).
  for (const size_t chunk : {size_t{1}, size_t{7}}) {
    auto sequence = engine::Sequence::create(*engine_);
    ASSERT_TRUE(sequence) << sequence.error().message();
    ASSERT_TRUE(sequence->clear());
    for (size_t first = 0; first < golden_.prompt.size(); first += chunk) {
      const size_t count = std::min(chunk, golden_.prompt.size() - first);
      const std::vector<uint32_t> part(golden_.prompt.begin() + static_cast<std::ptrdiff_t>(first),
                                       golden_.prompt.begin() + static_cast<std::ptrdiff_t>(first + count));
      const auto rows = sequence->read_logits(part, 1);
      ASSERT_TRUE(rows) << rows.error().message();
      EXPECT_LE(worst_difference(rows->front(), row(golden_.logits, first + count - 1)), kLogitTolerance)
          << "chunks of " << chunk << ", after position " << first + count - 1;
    }
  }
}

std::string test_name(const testing::TestParamInfo<GoldenModel::ParamType>& info) {
  return fixture_name(golden_models(), std::get<0>(info.param)) + "_" + std::get<1>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenModel,
                         testing::Combine(testing::ValuesIn(golden_models()), testing::ValuesIn(kSetups)), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenModel);

TEST(GoldenFixtures, ArePresent) { EXPECT_GE(golden_models().size(), 15U); }

}  // namespace
}  // namespace cria
