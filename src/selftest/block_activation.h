// Quantised activations (x_blocks.wgsl) for a kernel to make: poisoned, and compared with what they stand for.
#pragma once

#include "kernels/matvec_few.h"
#include "selftest/harness.h"

namespace cria::selftest {

/// Quantised tokens, poisoned as a whole, with a tail behind each half.
struct PoisonedBlocks {
  uint64_t integer_bytes = 0;
  uint64_t scale_bytes = 0;
  kernels::BlockActivation blocks;

  static Result<PoisonedBlocks> create(gpu::Device& device, uint32_t columns, uint32_t tokens);

  /// Whether the tails are as they were. Errors: kDevice.
  [[nodiscard]] Result<CaseOutcome> check_tails(gpu::Device& device) const;
  /// The same, and the integers and scales beside the values that were quantised, which may be off by their own
  /// tolerance: a scale is off by that of its unit and 5.5 ulp (two elements' products, two divisions), an integer by
  /// half of one, that of its value and of its scale, and 5.5 ulp of 127. Errors: kDevice.
  [[nodiscard]] Result<CaseOutcome> check(gpu::Device& device, const Expected& right) const;
};

}  // namespace cria::selftest
