// Reading memory as fast as a kernel can (read_bandwidth.wgsl).
#pragma once

#include "kernels/builder.h"

namespace cria::kernels {

class ReadBandwidth {
 public:
  static Result<ReadBandwidth> create(gpu::Device& device);
  /// Reads all of x (a multiple of 16 bytes) with `workgroups` workgroups (at least 1, at most the device's
  /// limit per dimension). sums u32 [invocations(workgroups)] then add up to the sum of x's words, modulo 2^32.
  void record(gpu::Recorder& recorder, const gpu::Buffer& x, const gpu::Buffer& sums, uint32_t workgroups) const;

  [[nodiscard]] static constexpr uint32_t invocations(uint32_t workgroups) { return workgroups * kWorkgroup; }

 private:
  static constexpr uint32_t kWorkgroup = 256;
  gpu::Pipeline pipeline_;
};

}  // namespace cria::kernels
