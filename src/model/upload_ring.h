// The way of the weights to the GPU: pieces of host memory that the CPU fills in turn and the GPU copies from.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "gpu/device.h"

namespace cria::model {

/// While the GPU copies from some slots, the CPU writes the next one in place: nothing is copied twice, and no memory
/// is allocated or pinned for a piece. Made for pieces that all take about as much; slots grow where one takes more.
class UploadRing {
 public:
  explicit UploadRing(gpu::Device& device) : device_(device) {}

  /// The next slot, `bytes` long, to be written (and not read: it may lie in memory without a cache). Waits until the
  /// GPU is done with what it held. Errors: kOutOfMemory, kDevice.
  Result<std::span<std::byte>> next(uint64_t bytes);

  /// `bytes` of the slot from `offset` on, for `target` from `target_offset` on; all are multiples of 4.
  struct Part {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    const gpu::Buffer& target;
    uint64_t target_offset = 0;
  };
  /// Has the GPU copy parts of the slot that next() gave last. Errors: kDevice.
  Status send(std::initializer_list<Part> parts);

 private:
  gpu::Device& device_;
  std::vector<gpu::HostBuffer> slots_;
  size_t current_ = 0;
};

}  // namespace cria::model
