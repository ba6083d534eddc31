// The paged key/value cache: fixed-size pages, allocated on demand, a page table per sequence.
#pragma once

#include <vector>

#include "gpu/device.h"
#include "kernels/attention.h"
#include "model/config.h"

namespace cria::model {

/// Keys and values of all layers for up to `slots` sequences of up to `max_context` positions.
/// Layout: per layer two buffers of rows [pages, kv_heads, kPageSize] (kernels::kv_row_bytes); a page number means the
/// same page in every layer. The buffers grow by doubling, one layer at a time, when pages run out.
class KvCache {
 public:
  /// Errors: kOutOfMemory where not even one page fits the device's binding limit.
  static Result<KvCache> create(gpu::Device& device, const ModelConfig& config, kernels::KvType type,
                                uint32_t max_context, uint32_t slots);

  /// Bytes of one position in all layers, keys and values.
  [[nodiscard]] static uint64_t bytes_per_position(const ModelConfig& config, kernels::KvType type);
  /// The largest context whose pages one binding per layer can hold for one sequence.
  [[nodiscard]] static uint64_t binding_positions(const gpu::Limits& limits, const ModelConfig& config,
                                                  kernels::KvType type);

  /// Makes sure that positions 0 … positions - 1 of a slot have pages. Errors: kOutOfMemory, with the
  /// bytes asked for; the cache stays as it was.
  Status reserve(gpu::Device& device, uint32_t slot, uint32_t positions);
  /// Gives the pages of a slot beyond its first `positions` back.
  void truncate(uint32_t slot, uint32_t positions);

  [[nodiscard]] const kernels::KvLayer& layer(uint32_t index) const { return layers_[index]; }
  [[nodiscard]] const gpu::Buffer& page_table() const { return page_table_; }
  [[nodiscard]] uint32_t pages_per_slot() const { return pages_per_slot_; }
  [[nodiscard]] uint32_t max_context() const { return max_context_; }
  [[nodiscard]] uint32_t slots() const { return static_cast<uint32_t>(pages_of_slot_.size()); }

 private:
  Status grow(gpu::Device& device, uint32_t pages);

  std::vector<kernels::KvLayer> layers_;
  gpu::Buffer page_table_;
  uint64_t page_bytes_ = 0;  // of keys, or of values, in one layer
  uint32_t max_pages_ = 0;
  uint32_t capacity_ = 0;
  uint32_t pages_per_slot_ = 0;
  uint32_t max_context_ = 0;
  std::vector<uint32_t> free_pages_;
  std::vector<std::vector<uint32_t>> pages_of_slot_;
};

}  // namespace cria::model
