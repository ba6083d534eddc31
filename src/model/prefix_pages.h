// Pages of the KV cache that outlive the texts they were written for, found again by the tokens that lead to them.
#pragma once

#include <array>
#include <map>

#include "model/kv_cache.h"

namespace cria::model {

/// A tree of full pages: a page's place in it is the page before it and its own kPageSize tokens, which are compared
/// as they are. It holds each of its pages in the cache (KvCache::hold).
class PrefixPages {
 public:
  /// The cache must outlive the tree.
  explicit PrefixPages(KvCache& cache) : cache_(&cache) {}

  /// The pages of the longest beginning of `tokens` that is known, in whole pages; they count as used now.
  [[nodiscard]] std::vector<uint32_t> find(std::span<const uint32_t> tokens);

  /// Remembers the full pages of a text: pages[i] holds tokens[kPageSize * i …]. Where a text that begins alike is
  /// known, its pages stay.
  void add(std::span<const uint32_t> tokens, std::span<const uint32_t> pages);

  /// Forgets the page that was not used for longest, among those that nobody else holds and no known page follows.
  /// False where there is none.
  bool forget_oldest();

  [[nodiscard]] size_t size() const { return known_.size(); }

 private:
  struct Key {
    uint64_t parent = 0;  ///< the number of the page before; 0: none
    std::array<uint32_t, kernels::kPageSize> tokens{};
    auto operator<=>(const Key&) const = default;
  };
  struct Page {
    uint64_t number = 0;  ///< in the order of their coming, from 1 on
    uint32_t page = 0;
    uint64_t last_used = 0;
    uint32_t followers = 0;
  };
  using Known = std::map<Key, Page>;
  [[nodiscard]] static Key key(uint64_t parent, std::span<const uint32_t> tokens, size_t page);

  KvCache* cache_;
  Known known_;
  std::map<uint64_t, Known::iterator> by_number_;
  uint64_t numbers_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace cria::model
