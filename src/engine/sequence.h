// One text being read and continued: tokens, their place in the KV cache, and the generation loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/constraint.h"
#include "engine/engine.h"
#include "engine/speculation.h"
#include "engine/step_pace.h"
#include "engine/token_sampler.h"

namespace cria::engine {

/// Why a generation ended.
enum class StopReason : uint8_t { kEndOfText, kStopText, kMaxTokens, kContextFull, kInterrupted };
[[nodiscard]] std::string_view stop_reason_name(StopReason reason);

/// GPU times of one or more submissions, by kernel.
struct Profile {
  struct Kernel {
    uint64_t calls = 0;
    uint64_t nanoseconds = 0;
  };
  std::map<std::string, Kernel> kernels;  ///< empty unless profiling
  uint64_t gpu_nanoseconds = 0;           ///< of all submissions, from first kernel to last

  void add(const gpu::SubmissionTimes& times);
};

/// What a generation did and how long it took.
struct GenerationStats {
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  double prefill_seconds = 0;    ///< from the first prompt token to the first generated one
  double decode_seconds = 0;     ///< from the first generated token to the last
  double record_seconds = 0;     ///< of decoding, spent on the CPU to record and submit steps
  uint32_t passes = 0;           ///< of the model, from the first generated token on
  uint32_t drafted_tokens = 0;   ///< that were verified
  uint32_t accepted_tokens = 0;  ///< of these, which became part of the text
  StopReason stop_reason = StopReason::kMaxTokens;
  uint64_t seed = 0;
  Profile profile;

  /// Tokens after the first over the time they took; 0 where there was at most one.
  [[nodiscard]] double decode_tokens_per_second() const;
  [[nodiscard]] double prefill_tokens_per_second() const;
};

struct GenerateOptions {
  SamplingParams sampling;
  uint32_t max_tokens = 256;
  std::vector<uint32_t> stop_tokens;  ///< end the text and are not part of it
  /// What is generated follows it; where it is whole, and nothing but its end can follow, it ends as at a stop token.
  /// Needs the engine's tokenizer.
  std::shared_ptr<const grammar::Grammar> grammar = {};
  bool profile = false;
  /// Steps that are handed to the GPU together, whose tokens come back together: up to model::kMaxStepsTogether; 0: as
  /// many as take a few milliseconds. Always one with a grammar, drafts, layers in memory of the host or a profile.
  uint32_t steps_together = 0;
  /// Called after each pass through the prompt with the tokens that have been read, and all that are to be: for the
  /// last pass when it has been submitted, since the first step follows it without a pause.
  std::function<void(uint32_t read, uint32_t total)> on_read = {};
};

/// How many tokens of `wanted` need not be read where a cache holds `held`: what both begin with, but never all of
/// `wanted`, and none where RoPE depends on the text's length.
[[nodiscard]] uint32_t kept_prefix(const model::ModelConfig& config, const std::vector<uint32_t>& held,
                                   const std::vector<uint32_t>& wanted);

/// Errors (kInvalidInput) where a prompt is empty, or holds a token outside the vocabulary.
[[nodiscard]] Status check_tokens(const std::vector<uint32_t>& prompt, uint32_t vocab_size);

/// Called with each token as it is known; returning false stops the generation.
using TokenCallback = std::function<bool(text::TokenId)>;

/// A sequence of tokens in slot 0 of an engine's cache.
class Sequence {
 public:
  static Result<Sequence> create(Engine& engine);

  /// The text so far, prompt and generated.
  [[nodiscard]] const std::vector<uint32_t>& tokens() const { return tokens_; }

  /// Reads the prompt and generates until a stop token, the limit, a full context or the callback says
  /// so. While tokens are on their way back the next steps already run, with a grammar all of one but the draw; or
  /// drafted tokens are verified, several in a pass, as the engine was asked for and while that pays.
  /// Errors: kInvalidInput for an empty or overlong prompt or tokens outside the vocabulary, and where a grammar allows
  /// no token; kNotFinite where logits are NaN or infinite; kDevice; kOutOfMemory.
  Result<GenerationStats> generate(const std::vector<uint32_t>& prompt, const GenerateOptions& options,
                                   const TokenCallback& on_token);

  /// Reads more tokens and returns the logits f32 [rows, vocab_size] after each of the last `rows`.
  Result<std::vector<std::vector<float>>> read_logits(const std::vector<uint32_t>& more, uint32_t rows);

  /// Errors (kInvalidInput) where these tokens cannot be read next: there are none, they do not fit the
  /// context, or one is outside the vocabulary.
  [[nodiscard]] Status check_prompt(const std::vector<uint32_t>& prompt) const;

  /// Forgets all tokens.
  Status clear();

  /// Forgets all tokens from position `length` on.
  Status truncate(uint32_t length);

  /// Writes what the cache holds of the text to a file, or goes on with that of a file (engine/cache_file.h), whose
  /// errors these have. After a failure to load there is no text.
  Status save_cache(const std::filesystem::path& path) const;
  Status load_cache(const std::filesystem::path& path);

  /// Makes ready to read `wanted`, a text as a whole: keeps what the sequence and it begin with in common, and
  /// forgets the rest. At least one token is left to be read. Returns how many are kept; the next call of generate
  /// takes those behind them, and its random numbers begin anew, so that its answer depends on `wanted` and the
  /// settings alone. Nothing is kept where RoPE depends on the text's length.
  Result<uint32_t> keep_prefix(const std::vector<uint32_t>& wanted);

 private:
  explicit Sequence(Engine& engine) : engine_(&engine), constraints_(engine) {}
  Status begin_reading(const std::vector<uint32_t>& more);
  Status read_batch(gpu::Recorder& recorder, const model::Batch& batch);
  /// Steps that were submitted together, with the tokens that they draw.
  struct Flight {
    gpu::PendingRead read;
    uint32_t steps = 0;
    [[nodiscard]] bool valid() const { return steps > 0; }
  };
  Status read_prompt(const std::vector<uint32_t>& prompt, const GenerateOptions& options, GenerationStats& stats,
                     Flight& first);
  Status record_draw(gpu::Recorder& recorder, const GenerateOptions& options, uint32_t step);
  Status submit_steps(gpu::Recorder& recorder, const GenerateOptions& options, GenerationStats& stats, uint32_t steps,
                      Flight& flight);
  /// What the steps of a generation share.
  struct Decoding {
    const GenerateOptions& options;
    const TokenCallback& on_token;
    GenerationStats& stats;
    uint32_t known = 0;  ///< tokens that were drawn and came back
    std::optional<StopReason> reason = {};
    StepPace pace = {};
    [[nodiscard]] uint32_t left() const { return options.max_tokens - known; }
  };
  Status decode(Decoding& decoding, Flight first);
  [[nodiscard]] uint32_t steps_ahead(const Decoding& decoding, uint32_t under_way);
  Status begin_steps(Decoding& decoding, uint32_t under_way, uint32_t count, Flight& next);
  Status verify(Decoding& decoding, const std::vector<uint32_t>& draft);
  Status take_next(Decoding& decoding, kernels::SampledToken sampled);
  [[nodiscard]] Speculation::Text draftable(const Decoding& decoding) const;
  Status add_profile(gpu::Recorder& recorder, const GenerateOptions& options, GenerationStats& stats) const;
  Status check_drawn(Flight& flight) const;
  Status take_over(uint32_t token, Decoding& decoding);
  Status read_and_decode(const std::vector<uint32_t>& prompt, const GenerateOptions& options, GenerationStats& stats,
                         const TokenCallback& on_token);
  /// Makes the cache's length and what the sampler has seen those of tokens_: tokens drawn ahead are no part of the
  /// text, and what was generated is the next generation's prompt.
  Status settle();

  Engine* engine_;
  std::vector<uint32_t> tokens_;
  uint32_t cached_ = 0;  ///< positions whose keys and values are in the cache
  TokenSampler sampler_;
  Constraints constraints_;
  Speculation speculation_;
  std::optional<Constraint> constraint_;  ///< of the text that is being generated
  uint32_t sampled_ = 0;                  ///< tokens drawn since the last clear: the random numbers' counter
};

}  // namespace cria::engine
