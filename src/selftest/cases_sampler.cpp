// Cases of argmax, sample, logit_bias, token_mask, mark_tokens and add_tokens: a compact check of every path.
// tests/kernels/sampler_test.cpp also proves the distribution.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/sampler_reference.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::SampledToken;
using kernels::SamplerRow;
using kernels::SamplerStatus;

constexpr uint32_t kOutputPoison = static_cast<uint32_t>(Poison::kOutput);

/// Each filter alone and all together, with and without a list of candidates (see sample.wgsl).
std::vector<SamplerRow> settings(bool greedy) {
  if (greedy) {
    return {{.temperature = 0},
            {.temperature = 0, .repetition_penalty = 2},
            {.temperature = 0, .presence_penalty = 1.5F, .frequency_penalty = 0.75F}};
  }
  return {{.temperature = 1},
          {.temperature = 0.7F, .top_k = 40, .top_p = 0.95F, .repetition_penalty = 1.1F},
          {.temperature = 0.8F, .top_k = 300, .top_p = 0.9F, .min_p = 0.1F, .repetition_penalty = 0.5F},
          {.temperature = 2, .top_p = 0.9F},
          {.temperature = 1, .min_p = 0.05F},
          {.temperature = 1, .top_k = 20, .presence_penalty = -2, .frequency_penalty = 2},
          {.temperature = 0.5F, .top_p = 0.8F, .repetition_penalty = 1.2F, .frequency_penalty = -0.5F},
          {.temperature = 0, .repetition_penalty = 2}};
}

enum class Kind { kSpread, kTies, kFlat, kNotFinite };

std::vector<float> make_logits(Random& random, Kind kind, uint32_t vocab_size) {
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) {
    const float spread = 4 * (random.unit() + random.unit() + random.unit());
    logit = kind == Kind::kTies ? std::round(spread) : kind == Kind::kFlat ? 1 + spread * 1e-3F : spread;
  }
  if (kind == Kind::kNotFinite) logits[random.below(vocab_size)] = std::numeric_limits<float>::quiet_NaN();
  return logits;
}

/// Rows to sample in one dispatch, every setting on every kind of logits.
struct Batch {
  uint32_t vocab_size = 1;
  std::vector<std::vector<float>> logits;
  std::vector<SamplerRow> rows;  // each with a slot and a token of its own
  std::vector<uint32_t> seen;    // [rows, vocab_size]

  [[nodiscard]] std::span<uint32_t> seen_row(size_t slot) {
    return std::span(seen).subspan(slot * vocab_size, vocab_size);
  }
};

/// Words in `tokens`: some belong to no row.
size_t token_words(const Batch& batch) { return batch.rows.size() + 3; }

Batch make_batch(Random& random, uint32_t vocab_size, bool greedy) {
  Batch batch{.vocab_size = vocab_size, .logits = {}, .rows = {}, .seen = {}};
  for (const Kind kind : {Kind::kSpread, Kind::kTies, Kind::kFlat, Kind::kNotFinite}) {
    batch.logits.push_back(make_logits(random, kind, vocab_size));
    for (SamplerRow row : settings(greedy)) {
      row.seed_low = random.next();
      row.seed_high = random.next();
      row.step = random.below(1000);
      row.logits_row = static_cast<uint32_t>(batch.logits.size() - 1);
      batch.rows.push_back(row);
    }
  }
  const auto count = static_cast<uint32_t>(batch.rows.size());
  for (uint32_t r = 0; r < count; ++r) {
    batch.rows[r].slot = (r + 1) % count;
    batch.rows[r].token_index = count - r;
  }
  batch.seen.resize(size_t{count} * vocab_size);
  // Tokens of the prompt, generated ones, and both.
  for (uint32_t& word : batch.seen) {
    word = (random.below(4) == 0 ? kernels::kInPrompt : 0) + (random.below(3) == 0 ? 1 + random.below(3) : 0);
  }
  return batch;
}

struct SamplerBuffers {
  kernels::Activation logits;
  gpu::Buffer rows, seen, tokens, results;
};

Result<SamplerBuffers> upload_batch(gpu::Device& device, const Batch& batch) {
  SamplerBuffers buffers;
  Image logits = activation_image(Poison::kInput, batch.logits.size(), batch.vocab_size);
  for (size_t r = 0; r < batch.logits.size(); ++r) {
    for (size_t token = 0; token < batch.vocab_size; ++token) logits.set(r, token, batch.logits[r][token]);
  }
  std::vector<uint32_t> rows(batch.rows.size() * sizeof(SamplerRow) / 4);
  std::memcpy(rows.data(), batch.rows.data(), rows.size() * 4);
  buffers.logits.columns = batch.vocab_size;
  CRIA_TRY_ASSIGN(buffers.logits.buffer, upload(device, "logits", logits));
  CRIA_TRY_ASSIGN(buffers.rows, upload(device, "rows", std::move(rows)));
  CRIA_TRY_ASSIGN(buffers.seen, upload(device, "seen", batch.seen));
  CRIA_TRY_ASSIGN(buffers.tokens, upload(device, "tokens", std::vector<uint32_t>(token_words(batch), kOutputPoison)));
  CRIA_TRY_ASSIGN(buffers.results,
                  upload(device, "results", std::vector<uint32_t>(2 * batch.rows.size(), kOutputPoison)));
  return buffers;
}

/// Compares a row's draw with the reference's. Another token is right only where f32 may decide otherwise, which
/// it may not where nothing is drawn.
CaseOutcome check_draw(Batch& batch, size_t index, const SampledToken& sampled) {
  const SamplerRow& row = batch.rows[index];
  const kernels::ReferenceDraw draw =
      kernels::reference_draw(batch.logits[row.logits_row], batch.seen_row(row.slot), row);
  if (sampled.status == draw.sampled.status && sampled.token == draw.sampled.token) return {};
  const double ratio = draw.margin / kernels::kSamplerRoundingGap;
  if (sampled.status == draw.sampled.status && sampled.token < batch.vocab_size && ratio < 1)
    return {.worst = ratio, .failure = {}};
  return {.worst = std::numeric_limits<double>::infinity(),
          .failure = fmt::format("row {} gives token {} (status {}) instead of {} (status {})", index, sampled.token,
                                 static_cast<uint32_t>(sampled.status), draw.sampled.token,
                                 static_cast<uint32_t>(draw.sampled.status))};
}

/// Compares everything that the kernel wrote, given that the draws themselves are right.
Result<CaseOutcome> check_batch(gpu::Device& device, Batch& batch, const SamplerBuffers& buffers) {
  CaseOutcome outcome;
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> results, download(device, buffers.results));
  std::vector<uint32_t> right_results(results.begin(), results.begin() + 2 * std::ssize(batch.rows));
  std::vector<uint32_t> right_tokens(token_words(batch), kOutputPoison);
  for (size_t r = 0; r < batch.rows.size(); ++r) {
    const SampledToken sampled{.token = results[2 * r], .status = static_cast<SamplerStatus>(results[2 * r + 1])};
    outcome.add(check_draw(batch, r, sampled));
    if (!outcome.ok()) return outcome;
    right_tokens[batch.rows[r].token_index] = sampled.token;
    if (sampled.status == SamplerStatus::kOk) ++batch.seen_row(batch.rows[r].slot)[sampled.token];
  }
  const auto compare_buffer = [&](std::string_view name, std::vector<uint32_t> expected,
                                  const gpu::Buffer& buffer) -> Status {
    add_tail(expected);
    CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(device, buffer));
    outcome.add(compare_words(name, expected, words));
    return {};
  };
  CRIA_TRY(compare_buffer("results", std::move(right_results), buffers.results));
  CRIA_TRY(compare_buffer("tokens", std::move(right_tokens), buffers.tokens));
  CRIA_TRY(compare_buffer("seen", batch.seen, buffers.seen));
  return outcome;
}

Result<CaseOutcome> run_sampler(Trial& trial, uint32_t vocab_size, bool greedy) {
  Batch batch = make_batch(trial.random, vocab_size, greedy);
  CRIA_TRY_ASSIGN(const SamplerBuffers buffers, upload_batch(trial.device, batch));
  CRIA_TRY_ASSIGN(const auto op, kernels::Sampler::create(trial.device, vocab_size));
  gpu::Recorder recorder = trial.device.record("sampler");
  op.record(recorder, buffers.logits, buffers.rows, buffers.seen, buffers.tokens, buffers.results,
            static_cast<uint32_t>(batch.rows.size()), greedy);
  CRIA_TRY(trial.submit(recorder));
  return check_batch(trial.device, batch, buffers);
}

constexpr uint32_t kMarkedVocab = 50;
constexpr uint32_t kMarkedSlots = 3;

/// Marks tokens [3, 3 + count) in the middle one of three slots; some ids lie outside the vocabulary.
Result<CaseOutcome> run_mark(Trial& trial, uint32_t count) {
  constexpr uint32_t kFirst = 3;
  const std::vector<uint32_t> ids = random_indices(trial.random, kFirst + count + 5, kMarkedVocab + 9);
  std::vector<uint32_t> seen = random_indices(trial.random, size_t{kMarkedSlots} * kMarkedVocab, 9);
  CRIA_TRY_ASSIGN(const gpu::Buffer tokens, upload(trial.device, "tokens", ids));
  CRIA_TRY_ASSIGN(const gpu::Buffer seen_buffer, upload(trial.device, "seen", seen));
  CRIA_TRY_ASSIGN(const auto op, kernels::Sampler::create(trial.device, kMarkedVocab));
  gpu::Recorder recorder = trial.device.record("mark_tokens");
  op.record_marks(recorder, tokens, kFirst, count, 1, seen_buffer);
  CRIA_TRY(trial.submit(recorder));
  for (uint32_t i = kFirst; i < kFirst + count; ++i) {
    if (ids[i] < kMarkedVocab) seen[kMarkedVocab + ids[i]] |= kernels::kInPrompt;
  }
  add_tail(seen);
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(trial.device, seen_buffer));
  return compare_words("seen", seen, words);
}

/// Adds lists of tokens to five rows: to a row itself, to the sum in another row, and none at all. One row is left
/// alone, some tokens stand twice in a list, and some lie outside the vocabulary.
Result<CaseOutcome> run_add(Trial& trial, uint32_t vocab_size) {
  constexpr uint32_t kRows = 5;
  const std::vector<kernels::TokenList> lists = {{.from_row = 1, .to_row = 1, .first = 2, .count = 9},
                                                 {.from_row = 0, .to_row = 3, .first = 7, .count = 40},
                                                 {.from_row = 0, .to_row = 4, .first = 3, .count = 0}};
  const std::vector<uint32_t> ids = random_indices(trial.random, 50, vocab_size + 3);
  std::vector<uint32_t> seen = random_indices(trial.random, size_t{kRows} * vocab_size, 9);
  std::vector<uint32_t> list_words(lists.size() * 4);
  std::memcpy(list_words.data(), lists.data(), list_words.size() * 4);
  CRIA_TRY_ASSIGN(const gpu::Buffer list_buffer, upload(trial.device, "lists", std::move(list_words)));
  CRIA_TRY_ASSIGN(const gpu::Buffer tokens, upload(trial.device, "tokens", ids));
  CRIA_TRY_ASSIGN(const gpu::Buffer seen_buffer, upload(trial.device, "seen", seen));
  CRIA_TRY_ASSIGN(const auto op, kernels::Sampler::create(trial.device, vocab_size));
  gpu::Recorder recorder = trial.device.record("add_tokens");
  op.record_lists(recorder, list_buffer, tokens, static_cast<uint32_t>(lists.size()), seen_buffer);
  CRIA_TRY(trial.submit(recorder));
  std::vector<uint32_t> expected = seen;
  for (const kernels::TokenList& list : lists) {
    for (uint32_t token = 0; token < vocab_size; ++token) {
      const auto first = ids.begin() + list.first;
      expected[size_t{list.to_row} * vocab_size + token] =
          seen[size_t{list.from_row} * vocab_size + token] +
          static_cast<uint32_t>(std::count(first, first + list.count, token));
    }
  }
  add_tail(expected);
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(trial.device, seen_buffer));
  return compare_words("seen", expected, words);
}

/// Adds to `count` logits of three rows, each another one.
Result<CaseOutcome> run_bias(Trial& trial, uint32_t count) {
  constexpr uint32_t kRows = 3;
  const uint32_t vocab_size = count + 7;
  Table logits = random_table(trial.random, kRows, vocab_size);
  Image before = activation_image(Poison::kOutput, kRows, vocab_size);
  before.set_rows(logits);
  Expected expected(kRows, vocab_size);
  expected.value = logits;
  std::vector<uint32_t> entries;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t row = i % kRows;
    const uint32_t token = vocab_size - 1 - i;
    const float value = 200 * trial.random.unit() - 100;
    const double sum = logits.at(row, token) + double{value};
    entries.insert(entries.end(), {row * kernels::padded_columns(vocab_size) + token, std::bit_cast<uint32_t>(value)});
    expected.set(row, token, sum, std::abs(sum) * 0x1p-23);
  }
  CRIA_TRY_ASSIGN(const gpu::Buffer list, upload(trial.device, "entries", std::move(entries)));
  CRIA_TRY_ASSIGN(const Target target, Target::create(trial.device, "logits", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Sampler::create(trial.device, vocab_size));
  gpu::Recorder recorder = trial.device.record("logit_bias");
  op.record_bias(recorder, activation_of(target, vocab_size), list, count);
  CRIA_TRY(trial.submit(recorder));
  Expectation expectation(target.before);
  expectation.set_rows(expected);
  return target.check(trial.device, expectation);
}

/// Masks two of four rows, one of them with NaN and infinity among the logits.
Result<CaseOutcome> run_mask(Trial& trial, uint32_t vocab_size) {
  constexpr uint32_t kRows = 4;
  const std::vector<uint32_t> rows = {3, 1};
  const uint32_t words = divide_up(vocab_size, 32U);
  Table logits = random_table(trial.random, kRows, vocab_size);
  logits.at(1, trial.random.below(vocab_size)) = std::numeric_limits<float>::quiet_NaN();
  logits.at(1, trial.random.below(vocab_size)) = std::numeric_limits<float>::infinity();
  Image before = activation_image(Poison::kOutput, kRows, vocab_size);
  before.set_rows(logits);
  std::vector<uint32_t> masks;
  for (size_t i = 0; i < rows.size() * words; ++i) masks.push_back(trial.random.next() & trial.random.next());
  Image after = before;
  for (size_t m = 0; m < rows.size(); ++m) {
    for (uint32_t token = 0; token < vocab_size; ++token) {
      const bool is_allowed = (masks[m * words + token / 32] >> (token % 32) & 1U) != 0;
      if (!is_allowed && std::isfinite(logits.at(rows[m], token))) after.set(rows[m], token, -1e30F);
    }
  }
  CRIA_TRY_ASSIGN(const gpu::Buffer mask_buffer, upload(trial.device, "masks", std::move(masks)));
  CRIA_TRY_ASSIGN(const gpu::Buffer row_buffer, upload(trial.device, "rows", rows));
  CRIA_TRY_ASSIGN(const Target target, Target::create(trial.device, "logits", std::move(before)));
  CRIA_TRY_ASSIGN(const auto op, kernels::Sampler::create(trial.device, vocab_size));
  gpu::Recorder recorder = trial.device.record("token_mask");
  op.record_masks(recorder, activation_of(target, vocab_size), mask_buffer, row_buffer,
                  static_cast<uint32_t>(rows.size()));
  CRIA_TRY(trial.submit(recorder));
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words_after, download(trial.device, target.buffer));
  return compare_words("logits", after.words(), words_after);
}

}  // namespace

void add_sampler_cases(const gpu::Device&, std::vector<Case>& cases) {
  // Round the 256 of a workgroup, the 2,048 of the list of candidates and the 4,096 of a slice.
  for (const uint32_t vocab_size :
       {1U, 2U, 7U, 255U, 256U, 257U, 1023U, 1025U, 2048U, 2049U, 4096U, 4097U, 8193U, 32003U}) {
    for (const bool greedy : {false, true}) {
      const uint64_t rows = 4 * settings(greedy).size();
      // Of two kernels the last one names the case; the one before it, argmax_slices, is tested by it too.
      const bool sliced = kernels::Sampler::slices(vocab_size, static_cast<uint32_t>(rows));
      cases.push_back({.kernel = !greedy  ? "sample"
                                 : sliced ? "argmax_join"
                                          : "argmax",
                       .shape = fmt::format("vocabulary {}, rows {}", vocab_size, rows),
                       .binding_bytes = activation_bytes(rows, vocab_size),
                       .body = [=](Trial& trial) { return run_sampler(trial, vocab_size, greedy); }});
    }
  }
  for (const uint32_t vocab_size : {1U, 31U, 32U, 33U, 255U, 257U, 4099U}) {
    cases.push_back({.kernel = "token_mask",
                     .shape = fmt::format("vocabulary {}", vocab_size),
                     .binding_bytes = activation_bytes(4, vocab_size),
                     .body = [=](Trial& trial) { return run_mask(trial, vocab_size); }});
    cases.push_back({.kernel = "add_tokens",
                     .shape = fmt::format("vocabulary {}", vocab_size),
                     .binding_bytes = activation_bytes(5, vocab_size),
                     .body = [=](Trial& trial) { return run_add(trial, vocab_size); }});
  }
  for (const uint32_t count : {1U, 63U, 64U, 65U, 1000U}) {
    cases.push_back({.kernel = "mark_tokens", .shape = fmt::format("tokens {}", count), .body = [=](Trial& trial) {
                       return run_mark(trial, count);
                     }});
    cases.push_back({.kernel = "logit_bias", .shape = fmt::format("entries {}", count), .body = [=](Trial& trial) {
                       return run_bias(trial, count);
                     }});
  }
}

}  // namespace cria::selftest
