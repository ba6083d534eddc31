// Pages of the KV cache that make room for others: copied to host memory, and back to other pages.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace cria::engine {

/// Copies of pages in host memory: page after page; of each its keys and values, layer after layer.
using PageCopies = std::vector<std::byte>;

class PageSpill {
 public:
  /// Makes the buffer through which pages leave the device; when they must, there may be no memory for it.
  /// Errors: kOutOfMemory, kDevice.
  static Result<PageSpill> create(Engine& engine);

  /// Bytes of the copy of a page.
  [[nodiscard]] static uint64_t page_bytes(Engine& engine);

  /// Copies a slot's first `pages`. Errors: kDevice, kOutOfMemory.
  Result<PageCopies> save(Engine& engine, uint32_t slot, uint32_t pages) const;
  /// Writes copies back to the slot's pages from the `first` on, as many as there are. The slot must have them.
  static Status restore(Engine& engine, uint32_t slot, uint32_t first, const PageCopies& copies);

 private:
  gpu::Buffer gathered_;  // one page of all layers
};

}  // namespace cria::engine
