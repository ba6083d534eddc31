// Every fixture model gives the logits and greedy tokens that the reference implementation gave, with
// all features, with each masked, with tensors split into many shards, and read in any chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "engine/sequence.h"
#include "fixtures.h"
#include "formats/safetensors.h"

namespace cria {
namespace {

/// Logits of the reference were computed in f32, from the weights as stored.
constexpr float kLogitTolerance = 1e-3F;

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
    {"nothing", "f16,subgroups,subgroup-matrix,timestamps", 0},
    {"tiny_bindings", "", 96 * 1024},
};

struct Golden {
  std::vector<uint32_t> prompt;
  std::vector<float> logits;         // [prompt, vocab]
  std::vector<uint32_t> greedy;
  std::vector<float> greedy_logits;  // [greedy, vocab]
};

template <typename T>
std::vector<T> values(const formats::Safetensors& file, std::string_view name) {
  for (const formats::TensorView& tensor : file.tensors()) {
    if (tensor.name != name) continue;
    std::vector<T> copy(tensor.data.size() / sizeof(T));
    std::memcpy(copy.data(), tensor.data.data(), tensor.data.size());
    return copy;
  }
  ADD_FAILURE() << "golden file has no tensor " << name;
  return {};
}

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

engine::EngineOptions exact_options(const Setup& setup) {
  engine::EngineOptions options;
  options.device.disabled = *gpu::parse_features(setup.disabled);
  options.device.binding_limit = setup.binding_limit;
  options.model.kv = model::ModelOptions::Kv::kF32;  // the reference's cache is f32
  return options;
}

/// The largest absolute difference; NaN counts as infinitely far.
float worst_difference(std::span<const float> a, std::span<const float> b) {
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
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
    auto engine = engine::Engine::load(path(), exact_options(std::get<1>(GetParam())));
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = *std::move(engine);
  }
  static const std::filesystem::path& path() { return std::get<0>(GetParam()); }
  [[nodiscard]] std::span<const float> row(const std::vector<float>& logits, size_t index) const {
    const size_t vocab = engine_->config().vocab_size;
    return std::span(logits).subspan(index * vocab, vocab);
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
  engine::GenerateOptions options;
  options.sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 0};
  options.max_tokens = static_cast<uint32_t>(golden_.greedy.size());
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
  std::string name = std::get<0>(info.param).filename().string() + "_" + std::get<1>(info.param).name;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenModel,
                         testing::Combine(testing::ValuesIn(golden_models()), testing::ValuesIn(kSetups)), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenModel);

TEST(GoldenFixtures, ArePresent) { EXPECT_GE(golden_models().size(), 10U); }

}  // namespace
}  // namespace cria
