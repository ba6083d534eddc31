// Layers whose keys and values lie in memory of the host, for contexts that the device cannot hold.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gpu/device.h"
#include "kernels/attention.h"

namespace cria::model {

/// Keeps the pages of some layers in memory of the host, all but those that were written last. A pass copies the pages
/// that it reads, one layer ahead of the kernels, to one of two windows on the device: whole caches of one layer, which
/// the layers use in turn. So kernels find a layer's cache as they always do, and compute the same.
///
/// A page that a pass writes must be on the device: it stands in the tail, which holds a few pages of each streamed
/// layer. When the tail is full, what it holds goes to the host together.
class KvStream {
 public:
  /// `layers`: the streamed ones, ascending. `tail_pages`: at least as many as one pass writes.
  /// Errors: kOutOfMemory.
  static Result<KvStream> create(gpu::Device& device, std::vector<uint32_t> layers, uint64_t page_bytes,
                                 uint32_t tail_pages);

  [[nodiscard]] bool empty() const { return layers_.empty(); }
  [[nodiscard]] bool holds(uint32_t layer) const;
  /// Makes windows of so many pages. Nothing is kept: windows hold nothing between passes. Errors: kOutOfMemory.
  Status resize(gpu::Device& device, uint32_t pages);
  /// The window that a streamed layer's kernels use.
  [[nodiscard]] const kernels::KvLayer& window(uint32_t layer) const;

  /// Begins a pass that reads and writes some pages (those written are among those read). Errors: kOutOfMemory,
  /// kDevice.
  Status begin_pass(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> read,
                    std::span<const uint32_t> written);
  /// Records what has to be copied before and behind the kernels of a layer; for each layer, in order.
  void before_layer(gpu::Recorder& recorder, uint32_t layer) const;
  void after_layer(gpu::Recorder& recorder, uint32_t layer) const;
  /// Records what has to be copied before a layer that is computed alone.
  void bring(gpu::Recorder& recorder, uint32_t layer) const;

  /// Forgets what a page holds.
  void forget(uint32_t page);
  /// Bytes that the last pass copied to and from windows.
  [[nodiscard]] uint64_t bytes_of_pass() const;

 private:
  /// Pages of all streamed layers that went to the host together: [layers, 2 (keys, values), pages].
  struct Chunk {
    gpu::HostBuffer data;
    uint32_t pages = 0;
  };
  /// Where the contents of a page are: nowhere yet, in the tail, or in a chunk.
  struct Place {
    std::shared_ptr<const Chunk> chunk;
    bool in_tail = false;
    uint32_t index = 0;  ///< of the page in the tail or the chunk
  };
  /// Pages that follow each other both in a window and where they are kept.
  struct Run {
    uint32_t page = 0;
    uint32_t count = 0;
    Place place;
  };

  [[nodiscard]] size_t number(uint32_t layer) const;  ///< of a streamed layer among these; their count for others
  [[nodiscard]] std::vector<Run> runs(std::span<const uint32_t> pages) const;
  Status move_to_tail(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> pages);
  Status empty_tail(gpu::Device& device, std::span<const uint32_t> except);
  void copy_in(gpu::Recorder& recorder, size_t streamed) const;
  void copy_run(gpu::Recorder& recorder, size_t streamed, const Run& run, const kernels::KvLayer& target,
                uint32_t target_page) const;

  std::vector<uint32_t> layers_;
  uint64_t page_bytes_ = 0;
  std::vector<kernels::KvLayer> windows_;
  std::vector<kernels::KvLayer> tails_;  // of each streamed layer, [tail pages]
  std::vector<uint32_t> free_tail_;
  uint32_t tail_pages_ = 0;
  std::vector<Place> places_;        // by page
  std::vector<Run> reads_, writes_;  // of the pass
};

}  // namespace cria::model
