// Measuring how fast an engine reads prompts and generates tokens.
#pragma once

#include <string>
#include <vector>

#include "engine/sequence.h"

namespace cria::engine {

/// One thing to measure: reading prompts (pp) or generating tokens (tg).
struct BenchCase {
  enum class Kind : uint8_t { kPrompt, kGenerate } kind = Kind::kGenerate;
  uint32_t tokens = 0;  ///< read or generated, by each sequence
  uint32_t batch = 1;   ///< sequences at once
  uint32_t depth = 0;   ///< tokens that each sequence already holds

  /// "pp512", "tg128"; with a depth "tg128 @ d4096".
  [[nodiscard]] std::string name() const;
  /// Positions that each sequence takes in the KV cache.
  [[nodiscard]] uint64_t positions() const { return uint64_t{depth} + tokens + (kind == Kind::kGenerate ? 1 : 0); }
};

struct BenchOptions {
  uint32_t repetitions = 5;
  double warm_up_seconds = 0.1;  ///< at least one run, and as many as fill this time, are not counted
  bool profile = false;          ///< a further run with GPU times of each kernel, which disturb the timing
};

struct BenchResult {
  BenchCase what;
  std::vector<double> tokens_per_second;  ///< of each repetition, all sequences together
  double cpu_seconds_per_token = 0;       ///< processor time of the whole process; the median
  double record_seconds_per_token = 0;    ///< spent recording and submitting work; the median
  double bytes_per_token = 0;             ///< read from memory for each generated token; 0 for prompts
  double streamed_bytes_per_token = 0;    ///< moved between host and device, where layers are streamed
  Profile profile;
  uint64_t profiled_tokens = 0;

  /// The median of the repetitions.
  [[nodiscard]] double speed() const;
  [[nodiscard]] double bytes_per_second() const { return speed() * bytes_per_token; }
};

/// Bytes that one step of a batch reads at a depth: all weights but an embedding that is only looked up, and
/// each sequence's keys and values (the last `window` positions of layers with a sliding window).
[[nodiscard]] double step_bytes(const model::Model& model, uint32_t batch, uint32_t depth);

/// Measures cases on one engine. Tokens are made up; each run starts from the same state.
class Bench {
 public:
  /// `max_batch` is the largest batch of the cases; the engine has as many slots.
  static Result<Bench> create(Engine& engine, uint32_t max_batch);

  /// Errors: kInvalidInput where the case does not fit the engine's context or tokens in one pass;
  /// kOutOfMemory, kNotFinite, kDevice.
  Result<BenchResult> measure(const BenchCase& what, const BenchOptions& options);

 private:
  struct Run {
    double seconds = 0, cpu_seconds = 0, record_seconds = 0;
    Profile profile;
  };

  Bench(Engine& engine, Sequence sequence) : engine_(&engine), sequence_(std::move(sequence)) {}
  Status check(const BenchCase& what) const;
  Status prepare(const BenchCase& what);
  Result<Run> run(const BenchCase& what, bool profile);
  Result<Run> read_prompts(uint32_t first, uint32_t tokens, uint32_t batch, bool profile);
  Result<Run> generate_one(const BenchCase& what, bool profile);
  Result<Run> generate_many(const BenchCase& what, bool profile);
  Result<gpu::PendingRead> submit_step(const BenchCase& what, uint32_t step, gpu::Recorder& recorder);
  Status take_tokens(gpu::PendingRead& read) const;

  Engine* engine_;
  Sequence sequence_;
  kernels::Sampler sampler_;
  gpu::Buffer sampler_rows_;  ///< SamplerRow [max_batch]: greedy
  gpu::Buffer seen_;          ///< u32 [max_batch, vocab_size]
  gpu::Buffer results_;       ///< SampledToken [max_batch]
};

}  // namespace cria::engine
