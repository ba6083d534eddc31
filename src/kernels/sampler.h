// Choosing the next token on the GPU: argmax.wgsl, sample.wgsl, what is added to logits (logit_bias.wgsl), which tokens
// may come at all (token_mask.wgsl), and the occurrences that the penalties read (mark_tokens.wgsl, add_tokens.wgsl).
// sampler_reference.h holds the same rules for the CPU.
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

/// The largest vocabulary that can be sampled: above it, 32-bit sums of probability mass could overflow.
inline constexpr uint32_t kMaxSampledVocab = (1U << 19) - 1;

/// Below this temperature a row is sampled greedily, as at 0.
inline constexpr float kGreedyTemperature = 1e-6F;

/// How one row of logits is sampled; mirrors `Row` in sampler_logits.wgsl. The rules, in this order:
/// penalties, temperature, top-k, top-p, min-p, draw (see sample.wgsl for each).
struct SamplerRow {
  float temperature = 0;         ///< divides the logits; 0 takes the highest (the lowest token among equals)
  uint32_t top_k = 0;            ///< keep the k highest logits; 0 keeps all
  float top_p = 1;               ///< keep the likeliest tokens that together reach this probability; 1 keeps all
  float min_p = 0;               ///< keep tokens at least this likely, relative to the likeliest; 0 keeps all
  float repetition_penalty = 1;  ///< of tokens seen before: divides positive logits, multiplies negative ones
  uint32_t seed_low = 0;
  uint32_t seed_high = 0;
  uint32_t step = 0;            ///< counts the draws of a sequence, so that each has its own random numbers
  uint32_t slot = 0;            ///< the sequence's row of the counts; no two rows of a dispatch share one, or kNoSlot
  uint32_t logits_row = 0;      ///< the row of logits to sample
  uint32_t token_index = 0;     ///< where in `tokens` the drawn token goes
  float presence_penalty = 0;   ///< is subtracted from the logits of tokens that were generated before
  float frequency_penalty = 0;  ///< is subtracted as often as they were generated
};
static_assert(sizeof(SamplerRow) == 52);

/// Instead of a slot: what is drawn is not counted. Only for rows without penalties.
inline constexpr uint32_t kNoSlot = UINT32_MAX;

/// In a word of `seen`: the prompt holds the token. The bits below count how often it was generated.
inline constexpr uint32_t kInPrompt = 1U << 31;

/// A value to add to one logit; mirrors `Entry` in logit_bias.wgsl.
struct LogitBiasEntry {
  uint32_t at = 0;  ///< row * stride of the logits + token
  float value = 0;
};
static_assert(sizeof(LogitBiasEntry) == 8);

/// Tokens that are added to a row of the counts; mirrors `List` in add_tokens.wgsl.
struct TokenList {
  uint32_t from_row = 0;  ///< of `seen`, that they are added to
  uint32_t to_row = 0;    ///< that the sum goes to
  uint32_t first = 0;     ///< of the list, among all tokens
  uint32_t count = 0;
};
static_assert(sizeof(TokenList) == 16);

/// What became of a row.
enum class SamplerStatus : uint32_t { kOk = 0, kNotFinite = 1 };

/// One element of `results`; mirrors `vec2u` in the shaders.
struct SampledToken {
  uint32_t token = 0;  ///< 0 where the status is not kOk, so that later kernels stay in bounds
  SamplerStatus status = SamplerStatus::kOk;
};
static_assert(sizeof(SampledToken) == 8);

class Sampler {
 public:
  /// Errors: kUnsupported where vocab_size is 0 or above kMaxSampledVocab; kDevice.
  static Result<Sampler> create(gpu::Device& device, uint32_t vocab_size);

  /// Samples `row_count` rows. logits [any, vocab_size] (padding is not used), rows SamplerRow
  /// [row_count], seen u32 [slots, vocab_size], tokens u32 [any], results SampledToken [row_count].
  /// Row r's token is written to tokens[rows[r].token_index] and results[r], and its count in
  /// seen[rows[r].slot] grows by one. `greedy` promises that every row's temperature is 0.
  void record(gpu::Recorder& recorder, const Activation& logits, const gpu::Range& rows, const gpu::Buffer& seen,
              const gpu::Buffer& tokens, const gpu::Range& results, uint32_t row_count, bool greedy) const;

  /// Adds to single logits, before they are sampled: entries LogitBiasEntry [count], each of another logit.
  void record_bias(gpu::Recorder& recorder, const Activation& logits, const gpu::Buffer& entries, uint32_t count) const;

  /// Keeps tokens from being drawn, behind biases: masks u32 [count, mask_words()] with a set bit for each token that
  /// may be, rows u32 [count] with the row of logits of each, all different.
  void record_masks(gpu::Recorder& recorder, const Activation& logits, const gpu::Buffer& masks,
                    const gpu::Buffer& rows, uint32_t count) const;
  [[nodiscard]] uint32_t mask_words() const { return divide_up(vocab_size_, 32U); }

  /// Marks tokens[first, first + count) as kInPrompt in row `slot` of seen u32 [slots, vocab_size]. Ids outside the
  /// vocabulary are ignored.
  void record_marks(gpu::Recorder& recorder, const gpu::Buffer& tokens, uint32_t first, uint32_t count, uint32_t slot,
                    const gpu::Buffer& seen) const;

  /// Adds `count` lists, TokenList [count], of tokens u32 [any] to rows of seen u32 [slots, vocab_size]. No row is
  /// written by two lists, nor read by another list than the one that writes it.
  void record_lists(gpu::Recorder& recorder, const gpu::Buffer& lists, const gpu::Buffer& tokens, uint32_t count,
                    const gpu::Buffer& seen) const;

  /// Whether greedy rows are cut into slices, so that many workgroups look for the highest logit.
  [[nodiscard]] static bool slices(uint32_t vocab_size, uint32_t row_count);

 private:
  gpu::Pipeline argmax_, argmax_slices_, argmax_join_, sample_, mark_, bias_, mask_, add_;
  gpu::Buffer best_of_slices_;
  uint32_t slices_ = 0;
  uint32_t vocab_size_ = 0;
  uint32_t grid_limit_ = 0;
};

}  // namespace cria::kernels
