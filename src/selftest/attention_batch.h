// What the cases of attention share: batches of sequences in a paged cache.
//
// Of the cache only what a query may see is set: every other position, page and entry of the page table is
// poison. The pages of a sequence lie scattered, and the sequences' slots stand in another order than their tokens.
#pragma once

#include <numeric>

#include "kernels/attention.h"
#include "selftest/selftest.h"

namespace cria::selftest {

/// Tokens of one sequence in a batch, at consecutive positions.
struct Run {
  uint32_t position = 0;
  uint32_t count = 1;
  [[nodiscard]] uint32_t pages() const { return divide_up(position + count, kernels::kPageSize); }
};

struct BatchShape {
  uint32_t heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 2;
  uint32_t window = 0;
  std::vector<Run> runs;

  /// With the scale 1 / sqrt(head_dim).
  [[nodiscard]] kernels::AttentionShape attention() const;
  [[nodiscard]] uint32_t tokens() const {
    return std::accumulate(runs.begin(), runs.end(), 0U, [](uint32_t sum, const Run& run) { return sum + run.count; });
  }
  /// Pages in the cache: those of the sequences, and two that belong to none.
  [[nodiscard]] uint32_t pages() const {
    return std::accumulate(runs.begin(), runs.end(), 2U,
                           [](uint32_t sum, const Run& run) { return sum + run.pages(); });
  }
  /// The slot of a run: they are numbered from the last to the first.
  [[nodiscard]] uint32_t slot(size_t run) const { return static_cast<uint32_t>(runs.size() - 1 - run); }
  /// Bytes of the cache's keys.
  [[nodiscard]] uint64_t cache_bytes(kernels::KvType type) const;
};

/// "heads 4 over 2 of 64, positions 0 31-35, window 3".
[[nodiscard]] std::string describe(const BatchShape& shape);

[[nodiscard]] Element element_of(kernels::KvType type);

/// The places of a batch, for the reference and for kernels.
struct Batch {
  std::vector<BatchToken> tokens;
  PageTable table;
  kernels::BatchBuffers buffers;
};

/// `tile_tokens` is what the prefill kernel takes at once.
Result<Batch> make_batch(Trial& trial, const BatchShape& shape, uint32_t tile_tokens);

/// A cache's keys or values, all poison.
[[nodiscard]] Image cache_image(const BatchShape& shape, kernels::KvType type, Poison poison);

/// What storing a value in the cache may do to it. f32 is copied. Rounding to f16 may go either way (WGSL 15.7.6),
/// so it is off by less than the distance of two f16 numbers, 2^-10 of the value or, below the normal ones,
/// 2^-24; and those below the normal ones may become 0.
[[nodiscard]] double storage_error(kernels::KvType type, double value);

/// A cache on both sides.
struct FilledCache {
  PagedCache cpu;
  Image keys;
  Image values;
};

/// Whether the tokens of the batch are in the cache, or only what came before them.
enum class PositionsFilled : uint8_t { kAll, kBeforeBatch };

/// Sets what the queries of the batch may see, and nothing else.
[[nodiscard]] FilledCache fill_cache(Random& random, kernels::KvType type, const BatchShape& shape,
                                     const PageTable& table, PositionsFilled filled);

}  // namespace cria::selftest
