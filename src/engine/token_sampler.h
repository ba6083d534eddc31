// Draws tokens on the GPU, for one or several sequences at once: the settings of each row, and what each sequence
// holds.
#pragma once

#include <span>
#include <vector>

#include "engine/sampler.h"
#include "model/model.h"

namespace cria::engine {

class TokenSampler {
 public:
  /// For sequences in as many slots, and so many draws in a pass (or one for each slot).
  /// Errors: kUnsupported for the vocabulary, kOutOfMemory, kDevice.
  static Result<TokenSampler> create(gpu::Device& device, uint32_t vocab_size, uint32_t slots, uint32_t draws = 0);

  /// The slot holds a text that begins with these tokens: those of the prompt, and others that were generated.
  Status begin(gpu::Device& device, uint32_t slot, std::span<const uint32_t> prompt,
               std::span<const uint32_t> generated = {});
  /// Records that the tokens [0, count) of the model's batch stand in a slot's prompt too.
  void record_prompt(gpu::Recorder& recorder, const model::Model& model, uint32_t count, uint32_t slot) const;

  /// A draw for the sequence in a slot. Of one pass, draws for the same slot follow one another: each supposes that the
  /// drafted tokens before it are drawn.
  struct Draw {
    const SamplingParams* params = nullptr;
    uint32_t step = 0;  ///< counts the sequence's draws
    uint32_t slot = 0;
    std::span<const uint32_t> drafted = {};  ///< tokens behind the sequence's own that this draw supposes
    std::span<const uint32_t> mask = {};  ///< the tokens that may be drawn, as Sampler::record_masks has it; empty: all
  };
  /// Records a draw from each of the model's first rows of logits: row r's token becomes token r of its next batch.
  /// Logit biases and masks change the logits. What comes back are values of SampledToken. The token of a draw that
  /// supposes nothing belongs to the text from now on; others do where keep() says so.
  Result<gpu::PendingRead> record(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                                  std::span<const Draw> draws);
  /// Tells that a token belongs to the text which was drawn behind drafted ones.
  void keep(const SamplingParams& params, uint32_t slot, uint32_t token);

  /// The same for one of up to kMaxStepsTogether steps of one text that are recorded together, in this order; then what
  /// is to come back of all of them: each has values() of its own, kStepValues apart.
  Status record_step(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model, const Draw& draw,
                     uint32_t step);
  Result<gpu::PendingRead> read_steps(gpu::Recorder& recorder, uint32_t steps) const;
  static constexpr uint32_t kStepValues = 256 / sizeof(kernels::SampledToken);  // bindings begin at multiples of 256

 private:
  Status record_masks(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                      std::span<const Draw> draws);
  Status record_biases(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                       std::span<const Draw> draws);
  Status record_counts(gpu::Device& device, gpu::Recorder& recorder, std::span<const Draw> draws);
  Status record_draws(gpu::Device& device, gpu::Recorder& recorder, const model::Model& model,
                      std::span<const Draw> draws, const gpu::Range& results);

  kernels::Sampler sampler_;
  uint32_t vocab_size_ = 0;
  uint32_t slots_ = 0;
  uint32_t draws_ = 0;
  gpu::Buffer rows_;     // SamplerRow [draws], where they are too many to travel with the kernels' parameters
  gpu::Buffer seen_;     // u32 [slots, vocab_size], as kernels::Sampler has it; behind them [draws] for drafted tokens
  gpu::Buffer results_;  // SampledToken [draws], or those of steps together
  gpu::Buffer kept_lists_, kept_tokens_, drafted_lists_, drafted_tokens_;  // not valid where all draws are of slots
  std::vector<std::vector<uint32_t>> kept_;  // by slot: tokens of its text that seen_ does not count yet
  gpu::Buffer biases_;               // LogitBiasEntry, as many as were needed so far; not valid before the first
  gpu::Buffer masks_, masked_rows_;  // u32 [draws, words], u32 [draws]; not valid before the first mask
};

/// What was drawn behind so many tokens. Errors: kNotFinite.
Result<uint32_t> token_of(kernels::SampledToken sampled, size_t position);

}  // namespace cria::engine
