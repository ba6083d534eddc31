// Choosing how a model is run so that it fits into a budget of memory.
#pragma once

#include <cstdint>
#include <functional>

#include "model/model.h"

namespace cria::model {

/// How a model is run, and what that takes.
struct Fit {
  ModelOptions options;
  MemoryPlan plan;
};

/// What the formats of a model's matrices are with a choice of weights.
using FormatsOfChoice = std::function<FormatChoice(const WeightChoice&)>;

/// What is to be fitted, and into how many bytes of the device.
struct FitRequest {
  const gpu::Limits& limits;
  bool is_software = false;
  const ModelConfig& config;
  const FormatsOfChoice& formats;
  uint64_t budget = 0;
};

/// Chooses what `options` leave open (weights kAsStored, a KV type kAuto, a context, a batch size or streamed layers of
/// 0) so that all fits. In this order it gives up: context beyond 8,192 positions; the weights' precision (int8, int4);
/// context beyond 2,048 positions, the KV cache's precision and large batches; and last the device's speed, with
/// weights and then keys and values of as few layers as possible in memory of the host. Where nothing of the options is
/// left open, only layers are moved to the host. Errors: kOutOfMemory, with the least that would do and its settings;
/// those of `plan`.
Result<Fit> fit(const FitRequest& request, const ModelOptions& options);

/// The same with passes through prompts of more tokens than the default, whose products fill a large GPU better, where
/// memory is plentiful: their activations take at most a 32nd of the budget, and all that the model may ever need
/// leaves a quarter of it. Unchanged where the options say how many tokens. Errors: those of `plan`.
Result<Fit> with_large_passes(const FitRequest& request, Fit fit);

}  // namespace cria::model
