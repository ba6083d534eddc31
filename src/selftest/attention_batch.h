// What the cases of attention share: batches of sequences in a paged cache.
//
// Of the cache only what a query may see is set: every other position, page and entry of the page table is
// poison. The pages of a sequence lie scattered (but see BatchShape::follow), and the sequences' slots stand in another
// order than their tokens.
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
  bool follow = false;  ///< the pages of the only run follow one another

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

/// Below what a stored key or value may be read as 0.
[[nodiscard]] double smallest_normal(kernels::KvType type);

/// The places of a batch, for the reference and for kernels.
struct Batch {
  std::vector<BatchToken> tokens;
  PageTable table;
  kernels::BatchBuffers buffers;
};

/// `tile_tokens` is what the prefill kernel takes at once.
Result<Batch> make_batch(Trial& trial, const BatchShape& shape, uint32_t tile_tokens);

/// A cache's keys or values on the CPU: a row for each head of each position, all poison until set.
class CacheImage {
 public:
  CacheImage(const BatchShape& shape, kernels::KvType type, Poison poison);

  /// Stores a row and replaces its values by the stored ones. int8 as kv_write_int8.wgsl says.
  void set_row(size_t row, std::span<double> values);
  /// The stored values of a row.
  [[nodiscard]] std::vector<double> row(size_t row) const;
  [[nodiscard]] size_t rows() const { return rows_; }
  [[nodiscard]] kernels::KvType type() const { return type_; }
  [[nodiscard]] std::span<const uint32_t> row_words(size_t row) const;

  /// With a tail of poison.
  [[nodiscard]] std::span<const uint32_t> words() const { return words_; }
  /// Replaces the words by those that a kernel left behind.
  void assign(std::span<const uint32_t> words);

 private:
  kernels::KvType type_;
  uint32_t head_dim_;
  size_t rows_;
  std::vector<uint32_t> words_;
};

/// A cache's keys or values that a kernel writes, with what they held before.
struct CacheTarget {
  std::string name;
  CacheImage before;
  gpu::Buffer buffer;

  static Result<CacheTarget> create(gpu::Device& device, std::string_view name, CacheImage before);
  /// What they hold now. Errors: kDevice.
  [[nodiscard]] Result<CacheImage> read(gpu::Device& device) const;
  /// Compares what they hold now with `right` [rows, head_dim], NaN where every bit should be as before; what a kernel
  /// was to store may have been off by `off` [rows, head_dim] (empty: not at all).
  ///
  /// Tolerance: f32 is copied. Rounding to f16 may go either way (WGSL 15.7.6), so it is off by less than the distance
  /// of two f16 numbers, 2^-10 of the value or, below the normal ones, 2^-24; and those below the normal ones may
  /// become 0. int8 is off by half a scale, that is 1 / 254 of the row's largest value, and 1e-4 scales more for the
  /// errors of 127 divisions in f32.
  [[nodiscard]] CaseOutcome compare(const CacheImage& after, std::span<const double> right,
                                    std::span<const double> off) const;
};

/// A cache on both sides.
struct FilledCache {
  PagedCache cpu;
  CacheImage keys;
  CacheImage values;
};

/// Whether the tokens of the batch are in the cache, or only what came before them.
enum class PositionsFilled : uint8_t { kAll, kBeforeBatch };

/// Sets what the queries of the batch may see, and nothing else.
[[nodiscard]] FilledCache fill_cache(Random& random, kernels::KvType type, const BatchShape& shape,
                                     const PageTable& table, PositionsFilled filled);

/// cos and sin of random angles, [tokens, head_dim / 2, 2].
[[nodiscard]] Table random_turns(Random& random, uint32_t tokens, uint32_t head_dim);

/// Checks that keys or values hold the new rows, and else what they held before, and takes the stored rows over
/// into `cached`. Row i of the heads begins at column `first_column` of `rows`.
[[nodiscard]] Result<CaseOutcome> check_new_rows(gpu::Device& device, const CacheTarget& target,
                                                 const BatchShape& shape, const Batch& batch, const Expected& rows,
                                                 size_t first_column, std::vector<double>& cached);

}  // namespace cria::selftest
