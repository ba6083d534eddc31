// Cases of fill_random and read_bandwidth, which serve `cria bench`. Both are exact.
#include <bit>

#include "kernels/fill_random.h"
#include "kernels/read_bandwidth.h"
#include "quant/float16.h"
#include "selftest/cases.h"

namespace cria::selftest {
namespace {

using kernels::Encoding;
using kernels::ReadBandwidth;

/// What a word of an encoding holds, from its element on.
uint32_t expected_word(Encoding encoding, uint32_t seed, uint32_t element) {
  const float low = kernels::random_weight(seed, element);
  const float high = kernels::random_weight(seed, element + 1);
  switch (encoding) {
    case Encoding::kF32: return std::bit_cast<uint32_t>(low);
    case Encoding::kF16: return quant::f32_to_f16(low) | (uint32_t{quant::f32_to_f16(high)} << 16);
    case Encoding::kBF16: return quant::f32_to_bf16(low) | (uint32_t{quant::f32_to_bf16(high)} << 16);
    case Encoding::kBits: return kernels::random_word(seed, element);
  }
  return 0;
}

/// The buffer has no tail: the kernel fills it whole.
Result<CaseOutcome> run_fill(Trial& trial, Encoding encoding, uint32_t vec4s, uint32_t first) {
  const uint32_t seed = trial.random.next();
  std::vector<uint32_t> words(size_t{4} * vec4s, static_cast<uint32_t>(Poison::kOutput));
  CRIA_TRY_ASSIGN(const gpu::Buffer buffer, upload_words(trial.device, "w", words));
  CRIA_TRY_ASSIGN(const auto op, kernels::FillRandom::create(trial.device, encoding));
  gpu::Recorder recorder = trial.device.record("fill_random");
  op.record(recorder, buffer, seed, first);
  CRIA_TRY(trial.submit(recorder));
  for (uint32_t i = 0; i < words.size(); ++i) {
    words[i] = expected_word(encoding, seed, first + i * kernels::elements_per_word(encoding));
  }
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> filled, download(trial.device, buffer));
  return compare_words("w", words, filled);
}

/// Each invocation adds up every (invocations)-th vector.
Result<CaseOutcome> run_bandwidth(Trial& trial, uint32_t vec4s, uint32_t workgroups) {
  std::vector<uint32_t> words(size_t{4} * vec4s);
  for (uint32_t& word : words) word = trial.random.next();
  CRIA_TRY_ASSIGN(const gpu::Buffer x, upload_words(trial.device, "x", words));
  const size_t invocations = ReadBandwidth::invocations(workgroups);
  std::vector<uint32_t> sums(invocations + kTailWords, static_cast<uint32_t>(Poison::kOutput));
  CRIA_TRY_ASSIGN(const gpu::Buffer target, upload_words(trial.device, "sums", sums));
  CRIA_TRY_ASSIGN(const auto op, ReadBandwidth::create(trial.device));
  gpu::Recorder recorder = trial.device.record("read_bandwidth");
  op.record(recorder, x, target, workgroups);
  CRIA_TRY(trial.submit(recorder));
  std::fill_n(sums.begin(), invocations, 0);
  for (size_t i = 0; i < words.size(); ++i) sums[i / 4 % invocations] += words[i];
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> after, download(trial.device, target));
  return compare_words("sums", sums, after);
}

}  // namespace

void add_bench_cases(const gpu::Device& device, std::vector<Case>& cases) {
  constexpr std::pair<Encoding, const char*> kEncodings[] = {
      {Encoding::kF32, "f32"}, {Encoding::kF16, "f16"}, {Encoding::kBF16, "bf16"}, {Encoding::kBits, "bits"}};
  // One vector of words, one more and one fewer than a workgroup's, and more than a row of workgroups.
  for (const uint32_t vec4s : {1U, 255U, 257U, 3000U}) {
    for (const auto& [encoding, name] : kEncodings) {
      for (const uint32_t first : {0U, 0xFFFFFF00U}) {  // the second wraps around
        cases.push_back({.kernel = kernels::SpecBuilder(device, "fill_random").name(),
                         .shape = fmt::format("{} vectors of {}, from element {}", vec4s, name, first),
                         .binding_bytes = uint64_t{16} * vec4s,
                         .body = [=](Trial& trial) { return run_fill(trial, encoding, vec4s, first); }});
      }
    }
  }
  // Fewer vectors than invocations; whole rounds of four reads and a rest; nothing but whole rounds.
  for (const uint32_t vec4s : {1U, 255U, 1024U, 5U * 512 + 3, 8U * 512}) {
    for (const uint32_t workgroups : {1U, 2U, 3U}) {
      cases.push_back({.kernel = kernels::SpecBuilder(device, "read_bandwidth").name(),
                       .shape = fmt::format("{} vectors, workgroups {}", vec4s, workgroups),
                       .binding_bytes = uint64_t{16} * vec4s,
                       .body = [=](Trial& trial) { return run_bandwidth(trial, vec4s, workgroups); }});
    }
  }
}

}  // namespace cria::selftest
