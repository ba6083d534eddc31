// The samplers of the GPU against the rules' reference on the CPU.
#include "kernels/sampler.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "chi_square.h"
#include "kernels/sampler_reference.h"

namespace cria::kernels {
namespace {

constexpr uint32_t kSentinel = 0xa5a5a5a5;
constexpr size_t kSentinels = 64;  // words behind each output that must stay as they are

template <typename T>
std::vector<T> from_bytes(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Rows to sample in one dispatch.
struct Batch {
  uint32_t vocab = 0;
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<uint32_t>> seen;  // by slot; rows that are missing are zero
  std::vector<SamplerRow> rows;             // slot and token_index are filled in by run

  ReferenceDraw reference(size_t row) const {
    const std::span<const uint32_t> counts = row < seen.size() ? std::span(seen[row]) : std::span<const uint32_t>();
    return reference_draw(logits[rows[row].logits_row], counts, rows[row]);
  }
};

struct Outcome {
  std::vector<SampledToken> results;
  std::vector<uint32_t> tokens;
  std::vector<uint32_t> seen;  // [rows, vocab]
};

class GpuSampler {
 public:
  static GpuSampler open(const gpu::FeatureSet& disabled = {}) {
    gpu::DeviceOptions options;
    options.disabled = disabled;
    auto device = gpu::Device::open(options);
    if (!device) ADD_FAILURE() << device.error().message();
    CRIA_CHECK(device.has_value());
    return GpuSampler(*std::move(device));
  }

  gpu::Device& device() { return device_; }

  /// A buffer with the words and sentinels behind them.
  gpu::Buffer upload(std::vector<uint32_t> words) {
    words.resize(words.size() + kSentinels, kSentinel);
    auto buffer = device_.create_buffer("test data", words.size() * 4, gpu::MemoryKind::kScratch);
    CRIA_CHECK(buffer.has_value());
    CRIA_CHECK(device_.write(*buffer, 0, std::as_bytes(std::span(words))).has_value());
    return *buffer;
  }

  /// The words of a buffer; fails the test where its sentinels have changed.
  std::vector<uint32_t> download(const gpu::Buffer& buffer) {
    auto bytes = device_.read(buffer, 0, buffer.size_bytes());
    if (!bytes) ADD_FAILURE() << bytes.error().message();
    CRIA_CHECK(bytes.has_value());
    std::vector<uint32_t> words = from_bytes<uint32_t>(*bytes);
    for (size_t i = words.size() - kSentinels; i < words.size(); ++i) EXPECT_EQ(words[i], kSentinel) << "word " << i;
    words.resize(words.size() - kSentinels);
    return words;
  }

  /// Every row has a slot and a token of its own; the padding of the logits holds NaN.
  Outcome run(const Batch& batch, bool greedy) {
    auto sampler = Sampler::create(device_, batch.vocab);
    if (!sampler) ADD_FAILURE() << sampler.error().message();
    CRIA_CHECK(sampler.has_value());
    const uint32_t stride = padded_columns(batch.vocab);
    const auto row_count = static_cast<uint32_t>(batch.rows.size());
    std::vector<uint32_t> logits(size_t{stride} * batch.logits.size(),
                                 std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN()));
    for (size_t r = 0; r < batch.logits.size(); ++r) {
      std::memcpy(&logits[r * stride], batch.logits[r].data(), size_t{batch.vocab} * 4);
    }
    std::vector<uint32_t> seen(size_t{row_count} * batch.vocab);
    for (size_t r = 0; r < batch.seen.size(); ++r) {
      std::copy(batch.seen[r].begin(), batch.seen[r].end(), seen.begin() + static_cast<ptrdiff_t>(r * batch.vocab));
    }
    std::vector<uint32_t> rows(size_t{row_count} * sizeof(SamplerRow) / 4);
    for (uint32_t r = 0; r < row_count; ++r) {
      SamplerRow row = batch.rows[r];
      if (row.slot != kNoSlot) row.slot = r;
      row.token_index = row_count - 1 - r;
      std::memcpy(&rows[r * sizeof(SamplerRow) / 4], &row, sizeof(row));
    }
    const Activation activation{.buffer = upload(std::move(logits)), .columns = batch.vocab};
    const gpu::Buffer row_buffer = upload(std::move(rows));
    const gpu::Buffer seen_buffer = upload(std::move(seen));
    const gpu::Buffer tokens = upload(std::vector<uint32_t>(row_count, kSentinel));
    const gpu::Buffer results = upload(std::vector<uint32_t>(size_t{row_count} * 2, kSentinel));
    gpu::Recorder recorder = device_.record("sampler test");
    sampler->record(recorder, activation, row_buffer, seen_buffer, tokens, results, row_count, greedy);
    const Status submitted = recorder.submit();
    if (!submitted) ADD_FAILURE() << submitted.error().message();

    Outcome outcome;
    const std::vector<uint32_t> pairs = download(results);
    for (uint32_t r = 0; r < row_count; ++r) {
      outcome.results.push_back({.token = pairs[2 * r], .status = static_cast<SamplerStatus>(pairs[2 * r + 1])});
    }
    const std::vector<uint32_t> reversed = download(tokens);
    outcome.tokens.assign(reversed.rbegin(), reversed.rend());
    outcome.seen = download(seen_buffer);
    return outcome;
  }

 private:
  explicit GpuSampler(gpu::Device device) : device_(std::move(device)) {}
  gpu::Device device_;
};

enum class Shape { kNormal, kFlat, kTies, kPeaked };

std::vector<float> random_logits(Shape shape, uint32_t vocab, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(vocab);
  for (float& logit : logits) {
    const float value = normal(generator);
    switch (shape) {
      case Shape::kNormal: logit = value; break;
      case Shape::kFlat: logit = 1.0F + value * 1e-3F; break;
      case Shape::kTies: logit = std::round(value); break;
      case Shape::kPeaked: logit = value * std::abs(value); break;
    }
  }
  return logits;
}

/// One setting per filter and combination; all paths of sample.wgsl are among them.
std::vector<SamplerRow> settings() {
  return {
      {.temperature = 1},
      {.temperature = 0.7F, .top_k = 40, .top_p = 0.95F, .repetition_penalty = 1.1F},
      {.temperature = 0.6F, .top_p = 0.9F},
      {.temperature = 1, .top_k = 1},
      {.temperature = 1.5F, .top_k = 256},
      {.temperature = 1, .top_k = 257, .top_p = 0.8F},
      {.temperature = 2, .top_k = 3000},
      {.temperature = 1, .top_p = 1e-6F},
      {.temperature = 1, .top_p = 0.9999999F},
      {.temperature = 1, .min_p = 0.05F},
      {.temperature = 1, .min_p = 1},
      {.temperature = 0.8F, .top_k = 50, .top_p = 0.9F, .min_p = 0.1F, .repetition_penalty = 1.3F},
      {.temperature = 100, .top_p = 0.99F, .repetition_penalty = 0.5F},
      {.temperature = 0.01F, .top_k = 5},
      {.temperature = 1, .presence_penalty = 2, .frequency_penalty = 0.5F},
      {.temperature = 0.7F, .top_k = 40, .top_p = 0.9F, .repetition_penalty = 1.1F, .presence_penalty = -2},
      {.temperature = 1, .top_p = 0.9F, .frequency_penalty = -1},
      {.temperature = 0},
      {.temperature = 0, .repetition_penalty = 2},
      {.temperature = 0, .presence_penalty = 0.1F, .frequency_penalty = 2},
  };
}

/// All settings on all shapes of logits; every third token has been seen, some of them in the prompt only.
Batch mixed_batch(uint32_t vocab, uint32_t seeds) {
  Batch batch{.vocab = vocab, .logits = {}, .seen = {}, .rows = {}};
  std::vector<uint32_t> seen(vocab);
  for (uint32_t token = 0; token < vocab; token += 3) seen[token] = token % 4 == 0 ? kInPrompt : 1 + token % 2;
  for (const Shape shape : {Shape::kNormal, Shape::kFlat, Shape::kTies, Shape::kPeaked}) {
    batch.logits.push_back(random_logits(shape, vocab, 17 * vocab + static_cast<uint32_t>(shape)));
    for (uint32_t seed = 0; seed < seeds; ++seed) {
      for (SamplerRow row : settings()) {
        row.seed_low = seed * 2654435761U;
        row.seed_high = seed;
        row.step = 3 * seed + 1;
        row.logits_row = static_cast<uint32_t>(batch.logits.size() - 1);
        batch.rows.push_back(row);
        batch.seen.push_back(seen);
      }
    }
  }
  return batch;
}

struct Agreement {
  size_t draws = 0;
  size_t roundings = 0;  // other tokens where the reference was within kSamplerRoundingGap of another outcome
};

/// Fails the test for every row whose token or outputs differ from the reference by more than rounding.
Agreement expect_agreement(GpuSampler& sampler, const Batch& batch, bool greedy = false) {
  const Outcome outcome = sampler.run(batch, greedy);
  Agreement agreement;
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    const ReferenceDraw draw = batch.reference(r);
    const SampledToken sampled = outcome.results[r];
    EXPECT_EQ(sampled.status, SamplerStatus::kOk) << "row " << r;
    EXPECT_EQ(outcome.tokens[r], sampled.token) << "row " << r;
    ++agreement.draws;
    if (sampled.token == draw.sampled.token) continue;
    ++agreement.roundings;
    EXPECT_LT(draw.margin, kSamplerRoundingGap) << "vocabulary of " << batch.vocab << ", row " << r << ": token "
                                                << sampled.token << " instead of " << draw.sampled.token;
  }
  return agreement;
}

TEST(SamplerKernel, DrawsTheReferencesTokens) {
  GpuSampler sampler = GpuSampler::open();
  Agreement total;
  for (const uint32_t vocab : {1U, 2U, 255U, 256U, 257U, 4096U, 32000U, 128256U}) {
    const uint32_t seeds = vocab < 1000 ? 16 : vocab < 10000 ? 4 : vocab < 100000 ? 2 : 1;
    const Agreement agreement = expect_agreement(sampler, mixed_batch(vocab, seeds));
    total.draws += agreement.draws;
    total.roundings += agreement.roundings;
  }
  RecordProperty("draws", static_cast<int>(total.draws));
  RecordProperty("roundings", static_cast<int>(total.roundings));
  EXPECT_LE(total.roundings * 500, total.draws) << total.roundings << " of " << total.draws;
}

TEST(SamplerKernel, DrawsTheReferencesTokensWithFeaturesMasked) {
  const gpu::FeatureSet masks[] = {{.subgroups = true}, {.f16 = true}, {.f16 = true, .subgroups = true}};
  for (const gpu::FeatureSet& mask : masks) {
    SCOPED_TRACE(gpu::feature_names(mask));
    GpuSampler sampler = GpuSampler::open(mask);
    for (const uint32_t vocab : {257U, 4096U}) expect_agreement(sampler, mixed_batch(vocab, 1));
  }
}

TEST(SamplerKernel, DrawsFromTheLargestVocabularyWithoutOverflow) {
  GpuSampler sampler = GpuSampler::open();
  Batch batch{.vocab = kMaxSampledVocab, .logits = {}, .seen = {}, .rows = {}};
  batch.logits.emplace_back(batch.vocab, 2.5F);  // every token has the mass of the likeliest
  batch.logits.push_back(random_logits(Shape::kFlat, batch.vocab, 1));
  for (uint32_t logits_row = 0; logits_row < 2; ++logits_row) {
    batch.rows.push_back({.temperature = 1, .top_p = 0.5F, .seed_low = 5, .logits_row = logits_row});
    batch.rows.push_back({.temperature = 1, .top_k = 300000, .top_p = 0.999F, .logits_row = logits_row});
  }
  expect_agreement(sampler, batch);
}

TEST(SamplerKernel, DrawsWithLogitsAtTheEndsOfTheRange) {
  GpuSampler sampler = GpuSampler::open();
  Batch batch{.vocab = 300, .logits = {}, .seen = {}, .rows = {}};
  batch.logits.push_back(random_logits(Shape::kNormal, batch.vocab, 2));
  batch.logits[0][7] = 3.4e38F;
  batch.logits[0][8] = -3.4e38F;
  batch.logits.emplace_back(batch.vocab, -3.4e38F);
  std::vector<uint32_t> seen(batch.vocab, 1);
  for (uint32_t logits_row = 0; logits_row < 2; ++logits_row) {
    for (const float temperature : {0.0F, 1e-5F, 1.0F, 100.0F}) {
      for (const float penalty : {1.0F, 100.0F, 0.01F}) {
        batch.rows.push_back({.temperature = temperature,
                              .top_k = logits_row == 0 ? 4U : 0U,
                              .top_p = 0.9F,
                              .min_p = 0.01F,
                              .repetition_penalty = penalty,
                              .logits_row = logits_row});
        batch.seen.push_back(seen);
      }
    }
  }
  expect_agreement(sampler, batch);
}

TEST(SamplerKernel, GreedyTakesTheLowestOfTheHighest) {
  GpuSampler sampler = GpuSampler::open();
  for (const uint32_t vocab : {1U, 2U, 255U, 256U, 257U, 4096U, 32000U, 128256U}) {
    Batch batch{.vocab = vocab, .logits = {}, .seen = {}, .rows = {}};
    for (const Shape shape : {Shape::kNormal, Shape::kFlat, Shape::kTies, Shape::kPeaked}) {
      batch.logits.push_back(random_logits(shape, vocab, vocab + static_cast<uint32_t>(shape)));
    }
    batch.logits.emplace_back(vocab, -1.0F);
    batch.logits.emplace_back(vocab, 0.0F);
    batch.logits.back()[0] = -0.0F;  // equal to 0, so the first token wins
    for (const uint32_t place : {0U, vocab / 2, vocab - 1}) {
      batch.logits.emplace_back(vocab, -3.0F);
      batch.logits.back()[place] = -2.9999998F;
    }
    for (uint32_t r = 0; r < batch.logits.size(); ++r) batch.rows.push_back({.logits_row = r});
    for (const bool greedy : {true, false}) {
      EXPECT_EQ(expect_agreement(sampler, batch, greedy).roundings, 0) << "vocabulary of " << vocab;
    }
  }
}

TEST(SamplerKernel, PenalisesSeenTokensAndCountsTheDrawnOne) {
  GpuSampler sampler = GpuSampler::open();
  for (const bool greedy : {true, false}) {
    Batch batch{.vocab = 5, .logits = {{4, 3, 2, 1, 0}, {-2, -1, -4, -5, -6}}, .seen = {}, .rows = {}};
    // Seen, token 0 falls from 4 to 1.6, token 1 from 3 to 1.2, and a logit of -1 to -2.5; where all have been
    // seen, their order stays.
    batch.seen = {{1, 0, 0, 0, 0}, {0, 7, 0, 0, 0}, {0, 1, 0, 0, 0}, {9, 9, 9, 9, 9}};
    for (const uint32_t logits_row : {0U, 0U, 1U, 0U}) {
      batch.rows.push_back({.repetition_penalty = 2.5F, .logits_row = logits_row});
    }
    const Outcome outcome = sampler.run(batch, greedy);
    const uint32_t expected[] = {1, 0, 0, 0};
    for (size_t r = 0; r < 4; ++r) {
      EXPECT_EQ(outcome.results[r].token, expected[r]) << "row " << r;
      for (uint32_t token = 0; token < 5; ++token) {
        EXPECT_EQ(outcome.seen[5 * r + token], batch.seen[r][token] + (token == expected[r] ? 1 : 0)) << "row " << r;
      }
    }
  }
}

TEST(SamplerKernel, PresenceAndFrequencyPenaltiesCountGeneratedTokensOnly) {
  GpuSampler sampler = GpuSampler::open();
  for (const bool greedy : {true, false}) {
    // A logit of 4 falls to 4 - 0.5 - 2 * 0.75 = 2 where it was generated twice, and stays in the prompt alone.
    Batch batch{.vocab = 3, .logits = {{4, 3, 2.5F}}, .seen = {}, .rows = {}};
    batch.seen = {{2, 0, 0}, {kInPrompt, 0, 0}, {kInPrompt + 2, 1, 0}, {2, 1, kInPrompt}};
    for (uint32_t r = 0; r < 4; ++r) batch.rows.push_back({.presence_penalty = 0.5F, .frequency_penalty = 0.75F});
    batch.rows[2].frequency_penalty = 0;  // 3.5 to 2.5 to 2.5
    const Outcome outcome = sampler.run(batch, greedy);
    const uint32_t expected[] = {1, 0, 0, 2};
    for (size_t r = 0; r < 4; ++r) {
      EXPECT_EQ(outcome.results[r].token, expected[r]) << "row " << r;
      EXPECT_EQ(outcome.seen[3 * r + expected[r]], batch.seen[r][expected[r]] + 1) << "row " << r;
    }
  }
}

TEST(SamplerKernel, ReportsLogitsThatAreNotFinite) {
  GpuSampler sampler = GpuSampler::open();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(), kInfinity,
                       -kInfinity};
  for (const uint32_t vocab : {1U, 257U, 32000U}) {
    Batch batch{.vocab = vocab, .logits = {}, .seen = {}, .rows = {}};
    for (const float value : bad) {
      for (const uint32_t place : {0U, vocab / 3, vocab - 1}) {
        batch.logits.push_back(random_logits(Shape::kNormal, vocab, 3));
        batch.logits.back()[place] = value;
      }
    }
    batch.logits.push_back(random_logits(Shape::kNormal, vocab, 3));
    for (uint32_t r = 0; r < batch.logits.size(); ++r) {
      batch.rows.push_back({.temperature = 1, .top_k = 40, .top_p = 0.9F, .repetition_penalty = 1.1F, .logits_row = r});
    }
    for (const bool greedy : {true, false}) {
      const Outcome outcome = sampler.run(batch, greedy);
      for (size_t r = 0; r + 1 < batch.rows.size(); ++r) {
        EXPECT_EQ(outcome.results[r].status, SamplerStatus::kNotFinite) << "row " << r;
        EXPECT_EQ(outcome.results[r].token, 0) << "row " << r;
        EXPECT_EQ(outcome.tokens[r], 0) << "row " << r;
      }
      EXPECT_EQ(outcome.results.back().status, SamplerStatus::kOk);
      EXPECT_EQ(std::accumulate(outcome.seen.begin(), outcome.seen.end(), 0U), 1U) << "only the last row is counted";
    }
  }
}

TEST(SamplerKernel, GivesTheSameTokensEveryTime) {
  GpuSampler sampler = GpuSampler::open();
  const Batch batch = mixed_batch(4096, 1);
  const Outcome first = sampler.run(batch, false);
  for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(sampler.run(batch, false).tokens, first.tokens);
}

/// Draws as often as a few seconds allow (slow on some software devices), within kMinDraws and kMaxDraws.
TEST(SamplerKernel, DrawsInProportionToProbability) {
  GpuSampler sampler = GpuSampler::open();
  constexpr uint32_t kMinDraws = 4000;
  constexpr uint32_t kMaxDraws = 20000;
  constexpr uint32_t kBatch = 2000;
  constexpr std::chrono::seconds kPatience(4);
  constexpr uint32_t kVocab = 64;
  const SamplerRow rows[] = {
      {.temperature = 1.5F},
      {.temperature = 1, .top_k = 10, .top_p = 0.9F},
      {.temperature = 3, .top_p = 0.7F, .min_p = 0.02F},
  };
  for (const SamplerRow& setting : rows) {
    Batch batch{.vocab = kVocab, .logits = {random_logits(Shape::kNormal, kVocab, 4)}, .seen = {}, .rows = {}};
    std::vector<uint32_t> counts(kVocab);
    const auto start = std::chrono::steady_clock::now();
    for (uint32_t draws = 0; draws < kMaxDraws;) {
      if (draws >= kMinDraws && std::chrono::steady_clock::now() - start > kPatience) break;
      batch.rows.assign(kBatch, setting);
      for (SamplerRow& row : batch.rows) row.step = draws++;
      for (const SampledToken sampled : sampler.run(batch, false).results) ++counts[sampled.token];
    }
    expect_distribution(counts, reference_distribution(batch.logits[0], {}, setting));
  }
}

TEST(SamplerKernel, MarksTokensOfAPrompt) {
  GpuSampler sampler = GpuSampler::open();
  constexpr uint32_t kVocab = 50;
  auto op = Sampler::create(sampler.device(), kVocab);
  ASSERT_TRUE(op.has_value()) << op.error().message();
  std::vector<uint32_t> ids(1000);
  for (uint32_t i = 0; i < ids.size(); ++i) ids[i] = i * i % 61;  // some lie outside the vocabulary
  const gpu::Buffer tokens = sampler.upload(ids);
  const gpu::Buffer seen = sampler.upload(std::vector<uint32_t>(3 * kVocab, 10));
  gpu::Recorder recorder = sampler.device().record("mark test");
  op->record_marks(recorder, tokens, 7, 900, 1, seen);
  op->record_marks(recorder, tokens, 0, 0, 0, seen);
  op->record_marks(recorder, tokens, 999, 1, 2, seen);
  ASSERT_TRUE(recorder.submit().has_value());

  std::vector<uint32_t> expected(3 * kVocab, 10);
  const auto mark = [&](uint32_t id, uint32_t slot) {
    if (id < kVocab) expected[slot * kVocab + id] |= kInPrompt;
  };
  for (size_t i = 7; i < 907; ++i) mark(ids[i], 1);
  mark(ids[999], 2);
  EXPECT_EQ(sampler.download(seen), expected);
}

TEST(SamplerKernel, AddsListsOfTokensToRowsOfCounts) {
  GpuSampler sampler = GpuSampler::open();
  constexpr uint32_t kVocab = 300;
  auto op = Sampler::create(sampler.device(), kVocab);
  ASSERT_TRUE(op.has_value()) << op.error().message();
  std::vector<uint32_t> counts(4 * kVocab);
  for (uint32_t i = 0; i < counts.size(); ++i) counts[i] = i % 5 == 0 ? kInPrompt + i % 3 : i % 3;
  const std::vector<uint32_t> ids = {7, 299, 7, 0, 12, 7};
  const std::vector<TokenList> lists = {{.from_row = 0, .to_row = 2, .first = 1, .count = 3},
                                        {.from_row = 0, .to_row = 3, .first = 0, .count = 6},
                                        {.from_row = 1, .to_row = 1, .first = 5, .count = 1}};
  std::vector<uint32_t> words(lists.size() * sizeof(TokenList) / 4);
  std::memcpy(words.data(), lists.data(), lists.size() * sizeof(TokenList));
  const gpu::Buffer list_buffer = sampler.upload(words);
  const gpu::Buffer tokens = sampler.upload(ids);
  const gpu::Buffer seen = sampler.upload(counts);
  gpu::Recorder recorder = sampler.device().record("list test");
  op->record_lists(recorder, list_buffer, tokens, static_cast<uint32_t>(lists.size()), seen);
  ASSERT_TRUE(recorder.submit().has_value());

  std::vector<uint32_t> expected = counts;
  for (const TokenList& list : lists) {
    for (uint32_t token = 0; token < kVocab; ++token) {
      const auto begin = ids.begin() + list.first;
      expected[list.to_row * kVocab + token] =
          counts[list.from_row * kVocab + token] + static_cast<uint32_t>(std::count(begin, begin + list.count, token));
    }
  }
  EXPECT_EQ(sampler.download(seen), expected);
}

TEST(SamplerKernel, WhatHasNoSlotIsDrawnButNotCounted) {
  GpuSampler sampler = GpuSampler::open();
  for (const float temperature : {0.0F, 1.0F}) {
    Batch batch{.vocab = 5000, .logits = {random_logits(Shape::kNormal, 5000, 3)}, .seen = {}, .rows = {}};
    batch.rows = {{.temperature = temperature, .step = 1}, {.temperature = temperature, .step = 1, .slot = kNoSlot}};
    const Outcome outcome = sampler.run(batch, temperature == 0);
    EXPECT_EQ(outcome.results[0].token, outcome.results[1].token);
    EXPECT_EQ(std::accumulate(outcome.seen.begin(), outcome.seen.end(), 0U), 1U);
    EXPECT_EQ(outcome.seen[outcome.results[0].token], 1U);
  }
}

TEST(SamplerKernel, RefusesVocabulariesItCannotSum) {
  GpuSampler sampler = GpuSampler::open();
  for (const uint32_t vocab : {0U, kMaxSampledVocab + 1}) {
    const auto refused = Sampler::create(sampler.device(), vocab);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
    EXPECT_NE(refused.error().message().find(with_commas(vocab)), std::string::npos) << refused.error().message();
  }
  EXPECT_TRUE(Sampler::create(sampler.device(), kMaxSampledVocab).has_value());
}

}  // namespace
}  // namespace cria::kernels
