// Measuring what drafts give: the loop of a generation with and without them, where the tokens that are drawn are those
// of a script. What is drafted, how many tokens, every pass and every draw are real; only what the model would say,
// with made-up weights nothing of sense, is replaced when it has come back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/speculation.h"
#include "engine/token_sampler.h"

namespace cria::engine {

/// What the model is taken to say.
struct DraftScript {
  std::string name;
  std::vector<uint32_t> prompt;
  std::vector<uint32_t> answer;   ///< token after token; where it is empty, drafts decide:
  uint32_t accepted_percent = 0;  ///< of the drafts that come true as a whole; of others the first token is wrong
  uint32_t tokens = 0;            ///< that are generated; at most those of the answer
};

struct DraftBenchResult {
  std::vector<double> plain_seconds, seconds;                    ///< of each repetition, without drafts and with them
  uint32_t drafted_tokens = 0, accepted_tokens = 0, passes = 0;  ///< of the last repetition

  [[nodiscard]] double plain_speed(const DraftScript& script) const;  ///< tokens per second, the median
  [[nodiscard]] double speed(const DraftScript& script) const;
};

/// Tokens for a text where there is no tokenizer: one for each word with the blank before it, and each other character,
/// the same for the same.
[[nodiscard]] std::vector<uint32_t> made_up_tokens(std::string_view text, uint32_t vocab_size);

class DraftBench {
 public:
  /// The engine was asked for drafts, and has room for one text of the script's length.
  static Result<DraftBench> create(Engine& engine);
  /// Errors: kInvalidInput where the script does not fit the engine's context; kOutOfMemory, kDevice.
  Result<DraftBenchResult> measure(const DraftScript& script, uint32_t repetitions);

 private:
  struct Run {
    double seconds = 0;
    uint32_t drafted_tokens = 0, accepted_tokens = 0, passes = 0;
  };
  explicit DraftBench(Engine& engine) : engine_(&engine) {}
  Result<Run> run(const DraftScript& script, bool drafts);
  Status read_prompt(const DraftScript& script);
  Status verify(const DraftScript& script, const std::vector<uint32_t>& draft, Run& run);
  [[nodiscard]] Speculation::Text draftable(const DraftScript& script) const;
  Result<gpu::PendingRead> submit(std::vector<uint32_t> tokens, uint32_t position, uint32_t rows);
  [[nodiscard]] std::vector<uint32_t> drawn(const DraftScript& script, const std::vector<uint32_t>& draft,
                                            uint32_t rows) const;

  Engine* engine_;
  TokenSampler sampler_;
  Speculation speculation_;
  SamplingParams greedy_;
  std::vector<uint32_t> text_;
};

}  // namespace cria::engine
