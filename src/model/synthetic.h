// Models that nobody trained: weights made up on the GPU, for measurements without a checkpoint.
#pragma once

#include "model/weights.h"

namespace cria::model {

/// The format that made-up matrices get: the requested one, and f16 where a checkpoint's own was asked for.
[[nodiscard]] FormatChoice made_up_formats(const WeightChoice& choice);

/// Matrices of about N(0, 0.018) (kernels::random_weight; the same values in f32, f16 and bf16; random integers in
/// quantised types), norms of 1, biases like the matrices. Errors: kOutOfMemory naming the matrix, bytes and limit;
/// kDevice.
Result<Weights> make_up_weights(gpu::Device& device, const WeightTable& table, const FormatChoice& formats,
                                const LayerHook& on_layer);

}  // namespace cria::model
