// The paged key/value cache: fixed-size pages, allocated on demand, a page table per sequence.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "gpu/device.h"
#include "kernels/attention.h"
#include "model/config.h"
#include "model/kv_stream.h"

namespace cria::model {

/// Keys and values of all layers for up to `slots` sequences of up to `max_context` positions.
/// Layout: per layer two buffers of rows [pages, kv_heads, kPageSize] (kernels::kv_row_bytes); a page number means the
/// same page in every layer. The buffers grow by doubling, one layer at a time, when pages run out.
/// A page may have several holders: slots whose texts begin alike, and whoever remembers it (PrefixPages). It is free
/// when the last one lets it go. A page with several holders must not be written.
class KvCache {
 public:
  /// Layers of a cache that lie in memory of the host, and pages of their tail on the device (KvStream).
  struct Streamed {
    std::vector<uint32_t> layers = {};
    uint32_t tail_pages = 0;
  };
  /// `max_positions` of all sequences together at most; 0: whatever they may need.
  /// Errors: kOutOfMemory where not even one page fits the device's binding limit.
  static Result<KvCache> create(gpu::Device& device, const ModelConfig& config, kernels::KvType type,
                                uint32_t max_context, uint32_t slots, const Streamed& streamed,
                                uint32_t max_positions = 0);
  /// Bytes on the device of a cache of so many pages, without its page table, and of what growing to it takes beside.
  [[nodiscard]] static uint64_t device_bytes(const ModelConfig& config, kernels::KvType type, uint32_t pages,
                                             const Streamed& streamed);

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

  /// Makes these pages a slot's only ones, for its positions from 0 on; it becomes a holder of each.
  Status share(gpu::Device& device, uint32_t slot, std::span<const uint32_t> pages);
  void hold(uint32_t page) { ++holders_[page]; }
  void let_go(uint32_t page);
  [[nodiscard]] uint32_t holders(uint32_t page) const { return holders_[page]; }
  [[nodiscard]] const std::vector<uint32_t>& pages(uint32_t slot) const { return pages_of_slot_[slot]; }
  /// The first page of a slot where its others follow that one.
  [[nodiscard]] std::optional<uint32_t> first_of_consecutive_pages(uint32_t slot) const;

  /// Pages that the cache may have, and those that somebody holds.
  [[nodiscard]] uint32_t max_pages() const { return max_pages_; }
  [[nodiscard]] uint32_t used_pages() const { return capacity_ - static_cast<uint32_t>(free_pages_.size()); }

  /// Of the keys, or of the values, in one layer.
  [[nodiscard]] uint64_t page_bytes() const { return page_bytes_; }
  [[nodiscard]] const kernels::KvLayer& layer(uint32_t index) const {
    return stream_.holds(index) ? stream_.window(index) : layers_[index];
  }
  /// Begins a pass over tokens at positions of slots, whose pages were reserved. Errors: kOutOfMemory, kDevice.
  Status begin_pass(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> slots,
                    std::span<const uint32_t> positions);
  /// The layers in memory of the host, if any.
  [[nodiscard]] const KvStream& stream() const { return stream_; }
  [[nodiscard]] const gpu::Buffer& page_table() const { return page_table_; }
  [[nodiscard]] uint32_t pages_per_slot() const { return pages_per_slot_; }
  [[nodiscard]] uint32_t max_context() const { return max_context_; }
  [[nodiscard]] uint32_t slots() const { return static_cast<uint32_t>(pages_of_slot_.size()); }

 private:
  Status grow(gpu::Device& device, uint32_t pages);
  Status write_table(gpu::Device& device, uint32_t slot, uint32_t first_page) const;

  std::vector<kernels::KvLayer> layers_;  // not valid for the layers of stream_
  KvStream stream_;
  gpu::Buffer page_table_;
  uint64_t page_bytes_ = 0;
  uint32_t max_pages_ = 0;
  uint32_t capacity_ = 0;
  uint32_t pages_per_slot_ = 0;
  uint32_t max_context_ = 0;
  std::vector<uint32_t> free_pages_;
  std::vector<uint32_t> holders_;  // of each page
  std::vector<std::vector<uint32_t>> pages_of_slot_;
};

/// The layers of a cache that lie in memory of the host where so many do, for passes of so many tokens and a cache of
/// so many pages.
[[nodiscard]] KvCache::Streamed streamed_cache(const ModelConfig& config, uint32_t streamed, uint32_t batch_tokens,
                                               uint32_t slots, uint64_t pages);

}  // namespace cria::model
