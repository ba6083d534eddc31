// The laws of sampling on the CPU: what each filter keeps, what is drawn how often, what is refused.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "chi_square.h"
#include "kernels/sampler_reference.h"

namespace cria::engine {
namespace {

/// Settings that filter nothing.
constexpr SamplingParams kPlain{
    .temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 0};

std::vector<float> random_logits(size_t vocab, uint32_t seed, bool with_ties) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = with_ties ? std::round(normal(generator)) : normal(generator);
  return logits;
}

/// The distribution by the rules' definitions, one comparison of all tokens with all at a time.
std::vector<double> brute_force(std::vector<float> logits, const std::vector<uint32_t>& seen,
                                const SamplingParams& params) {
  const size_t vocab = logits.size();
  for (size_t t = 0; t < vocab; ++t) {
    const float p = params.repetition_penalty;
    if (seen.empty() || seen[t] == 0) continue;
    logits[t] = logits[t] > 0 ? logits[t] / p : logits[t] * p;
    const uint32_t generated = seen[t] % (1U << 31);
    if (generated > 0) logits[t] -= params.presence_penalty + params.frequency_penalty * static_cast<float>(generated);
  }
  const double highest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weight(vocab);
  for (size_t t = 0; t < vocab; ++t) {
    const auto higher = std::count_if(logits.begin(), logits.end(), [&](float other) { return other > logits[t]; });
    if (params.top_k != 0 && higher >= params.top_k) continue;
    weight[t] = std::exp((logits[t] - highest) / params.temperature);
  }
  const std::vector<double> all = weight;
  const double total = std::accumulate(all.begin(), all.end(), 0.0);
  for (size_t t = 0; t < vocab; ++t) {
    double above = 0;
    for (size_t other = 0; other < vocab; ++other) above += logits[other] > logits[t] ? all[other] : 0;
    if (params.top_p < 1 && above >= total * params.top_p) weight[t] = 0;
    if (weight[t] < params.min_p) weight[t] = 0;
  }
  const double kept = std::accumulate(weight.begin(), weight.end(), 0.0);
  for (double& w : weight) w /= kept;
  return weight;
}

void expect_brute_force(const std::vector<float>& logits, const std::vector<uint32_t>& seen,
                        const SamplingParams& params) {
  const std::vector<double> expected = brute_force(logits, seen, params);
  const std::vector<double> actual = kernels::reference_distribution(logits, seen, sampler_row(params, 0));
  for (size_t t = 0; t < logits.size(); ++t) ASSERT_NEAR(actual[t], expected[t], 1e-12) << "token " << t;
}

TEST(Sampler, FiltersAsDefined) {
  std::mt19937 generator(1);
  const auto among = [&](auto values) { return *(values.begin() + generator() % values.size()); };
  for (uint32_t trial = 0; trial < 2000; ++trial) {
    const std::vector<float> logits = random_logits(1 + generator() % 80, trial, trial % 2 == 0);
    std::vector<uint32_t> seen(generator() % 2 == 0 ? 0 : logits.size());
    for (uint32_t& word : seen) word = generator() % 3 + (generator() % 2 == 0 ? kernels::kInPrompt : 0);
    SamplingParams params = kPlain;
    params.temperature = among(std::initializer_list<float>{0.3F, 1, 1.7F});
    params.top_k = among(std::initializer_list<uint32_t>{0, 1, 2, 10, 79, 80, 1000});
    params.top_p = among(std::initializer_list<float>{1e-6F, 0.3F, 0.9F, 0.95F, 1});
    params.min_p = among(std::initializer_list<float>{0, 0.01F, 0.37F, 1});
    params.repetition_penalty = among(std::initializer_list<float>{0.5F, 1, 1.1F, 3});
    params.presence_penalty = among(std::initializer_list<float>{0, 0, 0.5F, -2});
    params.frequency_penalty = among(std::initializer_list<float>{0, 0, 1.5F, -0.25F});
    SCOPED_TRACE(fmt::format("trial {}: temperature {}, top_k {}, top_p {}, min_p {}, penalty {}", trial,
                             params.temperature, params.top_k, params.top_p, params.min_p, params.repetition_penalty));
    expect_brute_force(logits, seen, params);
    if (HasFatalFailure()) return;
  }
}

/// The tokens with a probability above 0.
std::set<uint32_t> support(const std::vector<float>& logits, const SamplingParams& params) {
  const std::vector<double> probabilities = kernels::reference_distribution(logits, {}, sampler_row(params, 0));
  std::set<uint32_t> tokens;
  for (uint32_t t = 0; t < logits.size(); ++t) {
    if (probabilities[t] > 0) tokens.insert(t);
  }
  return tokens;
}

TEST(Sampler, KeepsTiesAtAThresholdTogether) {
  const std::vector<float> logits = {1, 3, 2, 2, 2, 0};
  SamplingParams params = kPlain;
  params.top_k = 2;
  EXPECT_EQ(support(logits, params), (std::set<uint32_t>{1, 2, 3, 4}));
  params.top_k = 0;
  params.top_p = 0.5F;  // token 1 alone has 0.42
  EXPECT_EQ(support(logits, params), (std::set<uint32_t>{1, 2, 3, 4}));
  const std::vector<float> level(9, 4.0F);
  params.top_k = 1;
  EXPECT_EQ(support(level, params).size(), 9);
}

TEST(Sampler, AlwaysKeepsTheLikeliest) {
  const std::vector<float> logits = random_logits(100, 2, false);
  const auto highest = static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  SamplingParams top_k = kPlain;
  top_k.top_k = 1;
  SamplingParams top_p = kPlain;
  top_p.top_p = std::numeric_limits<float>::denorm_min();
  SamplingParams min_p = kPlain;
  min_p.min_p = 1;
  for (const SamplingParams& params : {top_k, top_p, min_p}) {
    EXPECT_EQ(support(logits, params), (std::set<uint32_t>{highest}));
    for (uint32_t step = 0; step < 100; ++step) EXPECT_EQ(sample(logits, {}, params, step), highest);
  }
}

TEST(Sampler, TakesTheLowestOfTheHighestAtTemperatureZero) {
  SamplingParams greedy = kPlain;
  greedy.temperature = 0;
  EXPECT_EQ(sample(std::vector<float>{1, 5, 5, 2}, {}, greedy, 0), 1U);
  EXPECT_EQ(sample(std::vector<float>{-0.0F, 0.0F}, {}, greedy, 0), 0U);
  EXPECT_EQ(sample(std::vector<float>{-7}, {}, greedy, 0), 0U);
  greedy.repetition_penalty = 2;
  EXPECT_EQ(sample(std::vector<float>{4, 3}, std::vector<uint32_t>{1, 0}, greedy, 0), 1U);
  EXPECT_EQ(sample(std::vector<float>{-4, -3}, std::vector<uint32_t>{0, 1}, greedy, 0), 0U);
}

TEST(Sampler, PenaltiesOfGeneratedTokensAreThoseOfOpenAi) {
  SamplingParams params = kPlain;
  params.temperature = 0;
  const std::vector<float> logits = {4, 3, 2};
  const auto draw = [&](std::vector<uint32_t> seen) { return sample(logits, seen, params, 0).value(); };
  params.presence_penalty = 0.75F;
  EXPECT_EQ(draw({5, 0, 0}), 0U) << "however often: 3.25";
  params.frequency_penalty = 0.5F;
  EXPECT_EQ(draw({1, 0, 0}), 1U) << "4 - 0.75 - 0.5";
  EXPECT_EQ(draw({kernels::kInPrompt, 0, 0}), 0U) << "the prompt does not count";
  EXPECT_EQ(draw({kernels::kInPrompt + 3, 1, 0}), 2U) << "1.75 and 1.75";
  params.presence_penalty = -2;
  params.frequency_penalty = 0;
  EXPECT_EQ(draw({0, 1, 0}), 1U) << "below 0 they favour what was generated";
}

TEST(Sampler, BiasesAreAddedToLogits) {
  SamplingParams params = kPlain;
  params.temperature = 0;
  const std::vector<float> logits = {4, 3, 2};
  params.logit_bias = {{.token = 2, .value = 2.5F}};
  EXPECT_EQ(sample(logits, {}, params, 0), 2U);
  params.logit_bias = {{.token = 0, .value = -100}, {.token = 1, .value = -100}};
  EXPECT_EQ(sample(logits, {}, params, 0), 2U);
  params.logit_bias = {{.token = 2, .value = 4}};
  params.repetition_penalty = 2;
  EXPECT_EQ(sample(logits, std::vector<uint32_t>{0, 0, 1}, params, 0), 0U) << "penalties come after: (2 + 4) / 2";
  params.logit_bias = {{.token = 3, .value = 1}};
  const auto outside = sample(logits, {}, params, 0);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().message(), "logit_bias names the token 3, outside the vocabulary of 3 tokens");
  params.logit_bias = {{.token = 1, .value = 1}, {.token = 1, .value = 2}};
  EXPECT_EQ(validate(params).error().message(), "logit_bias names the token 1 twice");
  for (const float value : {100.5F, -101.0F, std::numeric_limits<float>::quiet_NaN()}) {
    params.logit_bias = {{.token = 1, .value = value}};
    EXPECT_FALSE(validate(params)) << value;
  }
  params.logit_bias.clear();
  for (uint32_t token = 0; token <= kMaxLogitBiases; ++token) params.logit_bias.push_back({.token = token, .value = 1});
  EXPECT_EQ(validate(params).error().message(), "logit_bias has 1,025 tokens: at most 1,024 are taken");
}

TEST(Sampler, DrawsInProportionToProbability) {
  constexpr uint32_t kDraws = 100000;
  const std::vector<float> logits = random_logits(50, 3, false);
  std::vector<uint32_t> seen(50);
  for (size_t t = 0; t < 50; t += 4) seen[t] = 2;
  const SamplingParams settings[] = {
      kPlain,
      {.temperature = 2.5F, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 1},
      {.temperature = 1, .top_k = 12, .top_p = 1, .min_p = 0, .repetition_penalty = 1.3F, .seed = 2},
      {.temperature = 1.5F, .top_k = 0, .top_p = 0.8F, .min_p = 0, .repetition_penalty = 1, .seed = 3},
      {.temperature = 1.5F,
       .top_k = 30,
       .top_p = 0.95F,
       .min_p = 0.05F,
       .repetition_penalty = 1.1F,
       .seed = 1ULL << 40},
  };
  for (const SamplingParams& params : settings) {
    SCOPED_TRACE(params.seed);
    std::vector<uint32_t> counts(50);
    for (uint32_t step = 0; step < kDraws; ++step) ++counts[sample(logits, seen, params, step).value()];
    expect_distribution(counts, kernels::reference_distribution(logits, seen, sampler_row(params, 0)));
  }
}

TEST(Sampler, DrawsTheSameForTheSameSeedAndStepOnly) {
  const std::vector<float> logits(1000, 1.0F);
  const auto draws = [&](uint64_t seed) {
    SamplingParams params = kPlain;
    params.seed = seed;
    std::vector<uint32_t> tokens;
    for (uint32_t step = 0; step < 50; ++step) tokens.push_back(sample(logits, {}, params, step).value());
    return tokens;
  };
  const uint64_t seeds[] = {0, 1, 2, 1ULL << 32, (1ULL << 32) + 1, ~0ULL};
  for (const uint64_t a : seeds) {
    EXPECT_EQ(draws(a), draws(a));
    for (const uint64_t b : seeds) {
      if (a == b) continue;
      const std::vector<uint32_t> one = draws(a);
      const std::vector<uint32_t> other = draws(b);
      int equal = 0;
      for (size_t i = 0; i < one.size(); ++i) equal += one[i] == other[i] ? 1 : 0;
      EXPECT_LE(equal, 5) << a << " and " << b << " share more than chance allows";
    }
  }
  const std::vector<uint32_t> steps = draws(0);
  EXPECT_GT(std::set<uint32_t>(steps.begin(), steps.end()).size(), 40);
}

/// The high nibbles of two draws of random bits, counted as a cell of 256.
TEST(Sampler, RandomBitsOfNeighboursAreIndependent) {
  constexpr uint32_t kPairs = 1 << 17;
  const std::vector<double> even(256, 1.0 / 256);
  const kernels::SamplerRow base{};
  const auto bits = [&](uint32_t seed_low, uint32_t seed_high, uint32_t step, uint32_t token) {
    kernels::SamplerRow row = base;
    row.seed_low = seed_low;
    row.seed_high = seed_high;
    row.step = step;
    return kernels::random_bits(row, token);
  };
  for (const int shift : {28, 16, 0}) {
    std::vector<std::vector<uint32_t>> cells(5, std::vector<uint32_t>(256));
    const auto count = [&](int kind, uint32_t a, uint32_t b) {
      ++cells[kind][((a >> shift) & 15) * 16 + ((b >> shift) & 15)];
    };
    for (uint32_t i = 0; i < kPairs; ++i) {
      count(0, bits(0, 0, 0, 2 * i), bits(0, 0, 0, 2 * i + 1));
      count(1, bits(7, 0, 2 * i, 5), bits(7, 0, 2 * i + 1, 5));
      count(2, bits(2 * i, 0, 3, 5), bits(2 * i + 1, 0, 3, 5));
      count(3, bits(0, 2 * i, 3, 5), bits(0, 2 * i + 1, 3, 5));
      count(4, bits(9, 0, i, i % 50), bits(9, 0, i + 1, i % 50));
    }
    for (size_t kind = 0; kind < cells.size(); ++kind) {
      SCOPED_TRACE(fmt::format("kind {}, bits {} to {}", kind, shift, shift + 3));
      expect_distribution(cells[kind], even);
    }
  }
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    for (const float temperature : {0.0F, 1.0F}) {
      std::vector<float> logits(20, 1.0F);
      logits[13] = bad;
      SamplingParams params = kPlain;
      params.temperature = temperature;
      const auto refused = sample(logits, {}, params, 0);
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().code(), ErrorCode::kNotFinite);
      EXPECT_NE(refused.error().message().find("token 13"), std::string::npos) << refused.error().message();
    }
  }
}

TEST(Sampler, RefusesSettingsOutOfRange) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  struct Case {
    std::string_view name;
    float SamplingParams::* field;
    std::vector<float> allowed;
    std::vector<float> refused;
  };
  const Case cases[] = {
      {"temperature", &SamplingParams::temperature, {0, 0.01F, 100}, {-0.1F, 100.5F, kNan, kInfinity, -kInfinity}},
      {"top_p", &SamplingParams::top_p, {1e-30F, 0.5F, 1}, {0, -1, 1.0001F, kNan, kInfinity}},
      {"min_p", &SamplingParams::min_p, {0, 0.5F, 1}, {-1e-30F, 1.0001F, kNan, kInfinity}},
      {"presence_penalty", &SamplingParams::presence_penalty, {-2, 0, 2}, {-2.1F, 2.1F, kNan, kInfinity}},
      {"frequency_penalty", &SamplingParams::frequency_penalty, {-2, 0, 2}, {-2.1F, 2.1F, kNan, kInfinity}},
      {"repetition_penalty", &SamplingParams::repetition_penalty, {1e-30F, 1, 100}, {0, -1, 101, kNan, kInfinity}},
  };
  for (const Case& c : cases) {
    for (const float value : c.allowed) {
      SamplingParams params;
      params.*c.field = value;
      EXPECT_TRUE(validate(params).has_value()) << c.name << " " << value;
    }
    for (const float value : c.refused) {
      SamplingParams params;
      params.*c.field = value;
      const Status status = validate(params);
      ASSERT_FALSE(status.has_value()) << c.name << " " << value;
      EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
      EXPECT_TRUE(status.error().message().starts_with(fmt::format("{} is {}", c.name, value)))
          << status.error().message();
      EXPECT_FALSE(sample(std::vector<float>{1, 2}, {}, params, 0).has_value());
    }
  }
  EXPECT_TRUE(validate(SamplingParams{}).has_value());
}

TEST(Sampler, RefusesMissingLogitsAndCountsOfAnotherSize) {
  EXPECT_FALSE(sample({}, {}, kPlain, 0).has_value());
  const auto refused = sample(std::vector<float>{1, 2}, std::vector<uint32_t>{1, 2, 3}, kPlain, 0);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace cria::engine
