// Models that nobody trained: weights made up on the GPU, for measurements without a checkpoint.
#pragma once

#include "model/weights.h"

namespace cria::model {

/// The type that made-up matrices get: the requested one, and f16 where a checkpoint's own was asked for.
[[nodiscard]] TypeChoice made_up_types(Precision precision);

/// Matrices of about N(0, 0.018) (kernels::random_weight; the same values in f32, f16 and bf16), norms of 1,
/// biases like the matrices. Errors: kOutOfMemory naming the matrix, bytes and limit; kDevice.
Result<Weights> make_up_weights(gpu::Device& device, const WeightTable& table, const TypeChoice& types);

}  // namespace cria::model
