#include "model/kv_cache.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/checked.h"
#include "model/layer_stream.h"

namespace cria::model {
namespace {

constexpr uint32_t kFirstPages = 8;

uint64_t kv_page_bytes(const ModelConfig& config, kernels::KvType type) {
  return uint64_t{config.num_kv_heads} * kernels::kPageSize * kernels::kv_row_bytes(type, config.head_dim);
}

}  // namespace

uint64_t KvCache::device_bytes(const ModelConfig& config, kernels::KvType type, uint32_t pages,
                               const Streamed& streamed) {
  const uint64_t page = kv_page_bytes(config, type);
  const uint64_t windows = std::min<uint64_t>(2, streamed.layers.size());
  const uint64_t resident = config.num_layers - streamed.layers.size();
  const uint64_t tails = uint64_t{2} * streamed.layers.size() * streamed.tail_pages * page;
  // While a buffer grows, the one of half its size exists beside it.
  const uint64_t growth = resident > 0 && pages > kFirstPages ? page * pages / 2 : 0;
  return 2 * (resident + windows) * pages * page + tails + growth;
}

Status KvCache::begin_pass(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> slots,
                           std::span<const uint32_t> positions) {
  if (stream_.empty()) return {};
  std::set<uint32_t> read;
  std::set<uint32_t> written;
  std::vector<uint32_t> pages_read(pages_of_slot_.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const uint32_t last = positions[i] / kernels::kPageSize;
    written.insert(pages_of_slot_[slots[i]][last]);
    pages_read[slots[i]] = std::max(pages_read[slots[i]], last + 1);
  }
  for (size_t slot = 0; slot < pages_read.size(); ++slot) {
    const std::vector<uint32_t>& pages = pages_of_slot_[slot];
    read.insert(pages.begin(), pages.begin() + pages_read[slot]);
  }
  return stream_.begin_pass(device, recorder, std::vector(read.begin(), read.end()),
                            std::vector(written.begin(), written.end()));
}

uint64_t KvCache::bytes_per_position(const ModelConfig& config, kernels::KvType type) {
  return uint64_t{2} * config.num_layers * config.num_kv_heads * kernels::kv_row_bytes(type, config.head_dim);
}

uint64_t KvCache::binding_positions(const gpu::Limits& limits, const ModelConfig& config, kernels::KvType type) {
  const uint64_t limit = std::min(limits.max_binding_bytes, limits.max_buffer_bytes);
  return limit / kv_page_bytes(config, type) * kernels::kPageSize;
}

Result<KvCache> KvCache::create(gpu::Device& device, const ModelConfig& config, kernels::KvType type,
                                uint32_t max_context, uint32_t slots, const Streamed& streamed,
                                uint32_t max_positions) {
  KvCache cache;
  cache.page_bytes_ = kv_page_bytes(config, type);
  cache.max_context_ = max_context;
  cache.pages_per_slot_ = divide_up(max_context, kernels::kPageSize);
  cache.pages_of_slot_.resize(slots);
  const uint64_t fitting = binding_positions(device.limits(), config, type) / kernels::kPageSize;
  cache.max_pages_ = static_cast<uint32_t>(std::min<uint64_t>(fitting, uint64_t{cache.pages_per_slot_} * slots));
  if (max_positions != 0) cache.max_pages_ = std::min(cache.max_pages_, divide_up(max_positions, kernels::kPageSize));
  if (cache.max_pages_ == 0) {
    return fail(ErrorCode::kOutOfMemory, "KV cache: one page takes {} bytes, more than the {} that {} can bind",
                with_commas(cache.page_bytes_), with_commas(device.limits().max_binding_bytes), device.info().name);
  }
  CRIA_TRY_ASSIGN(cache.page_table_, device.create_buffer("KV page table", uint64_t{slots} * cache.pages_per_slot_ * 4,
                                                          gpu::MemoryKind::kKv));
  cache.layers_.resize(config.num_layers);
  if (!streamed.layers.empty()) {
    CRIA_TRY_ASSIGN(cache.stream_, KvStream::create(device, streamed.layers, cache.page_bytes_, streamed.tail_pages));
  }
  CRIA_TRY(cache.grow(device, std::min(kFirstPages, cache.max_pages_)));
  return cache;
}

Status KvCache::grow(gpu::Device& device, uint32_t pages) {
  const uint64_t old_bytes = capacity_ * page_bytes_;
  const uint64_t new_bytes = pages * page_bytes_;
  // One layer after the other, so that only one layer's cache exists twice at any time. Where a layer
  // fails, the ones before it are merely larger than needed, and the capacity stays.
  if (!stream_.empty()) CRIA_TRY(stream_.resize(device, pages));
  for (uint32_t index = 0; index < layers_.size(); ++index) {
    if (stream_.holds(index)) continue;
    kernels::KvLayer& layer = layers_[index];
    for (gpu::Buffer* buffer : {&layer.keys, &layer.values}) {
      if (buffer->valid() && buffer->size_bytes() >= new_bytes) continue;
      CRIA_TRY_ASSIGN(gpu::Buffer larger, device.create_buffer("KV cache", new_bytes, gpu::MemoryKind::kKv));
      if (old_bytes > 0) {
        gpu::Recorder recorder = device.record("KV growth");
        recorder.copy(*buffer, 0, larger, 0, old_bytes);
        CRIA_TRY(recorder.submit());
      }
      *buffer = std::move(larger);
    }
  }
  std::vector<uint32_t> more(pages - capacity_);  // used from the back, and after those that were free before
  std::iota(more.rbegin(), more.rend(), capacity_);
  free_pages_.insert(free_pages_.begin(), more.begin(), more.end());
  capacity_ = pages;
  holders_.resize(pages);
  return {};
}

Status KvCache::reserve(gpu::Device& device, uint32_t slot, uint32_t positions) {
  CRIA_CHECK(slot < slots() && positions <= max_context_);
  std::vector<uint32_t>& pages = pages_of_slot_[slot];
  const uint32_t needed = divide_up(positions, kernels::kPageSize);
  if (needed <= pages.size()) return {};
  const auto missing = static_cast<uint32_t>(needed - pages.size());
  if (missing > free_pages_.size()) {
    const uint32_t used = used_pages();
    if (used + missing > max_pages_) {
      return fail(ErrorCode::kOutOfMemory, "KV cache: {} more pages of {} positions do not fit: {} of {} are in use",
                  missing, kernels::kPageSize, used, max_pages_);
    }
    Status grown = grow(device, std::min(std::max(2 * capacity_, used + missing), max_pages_));
    const auto is_refused = [&] { return !grown && grown.error().code() == ErrorCode::kOutOfMemory; };
    if (is_refused()) grown = grow(device, used + missing);
    if (is_refused()) max_pages_ = capacity_;  // there is no more memory, and asking for it costs time
    CRIA_TRY(grown);
  }
  const auto first = static_cast<uint32_t>(pages.size());
  for (uint32_t i = 0; i < missing; ++i) {
    pages.push_back(free_pages_.back());
    free_pages_.pop_back();
    hold(pages.back());
  }
  return write_table(device, slot, first);
}

std::optional<uint32_t> KvCache::first_of_consecutive_pages(uint32_t slot) const {
  const std::vector<uint32_t>& pages = pages_of_slot_[slot];
  const auto breaks = [](uint32_t page, uint32_t next) { return next != page + 1; };
  if (pages.empty() || std::ranges::adjacent_find(pages, breaks) != pages.end()) return std::nullopt;
  return pages.front();
}

/// Tells the GPU a slot's pages from its `first_page`-th on.
Status KvCache::write_table(gpu::Device& device, uint32_t slot, uint32_t first_page) const {
  const std::span<const uint32_t> pages = std::span(pages_of_slot_[slot]).subspan(first_page);
  return device.write(page_table_, (uint64_t{slot} * pages_per_slot_ + first_page) * 4, std::as_bytes(pages));
}

Status KvCache::share(gpu::Device& device, uint32_t slot, std::span<const uint32_t> pages) {
  CRIA_CHECK(slot < slots() && pages.size() <= pages_per_slot_);
  for (const uint32_t page : pages) hold(page);  // before any is let go
  truncate(slot, 0);
  pages_of_slot_[slot].assign(pages.begin(), pages.end());
  return write_table(device, slot, 0);
}

void KvCache::let_go(uint32_t page) {
  CRIA_CHECK(holders_[page] > 0);
  if (--holders_[page] > 0) return;
  free_pages_.push_back(page);
  stream_.forget(page);
}

void KvCache::truncate(uint32_t slot, uint32_t positions) {
  std::vector<uint32_t>& pages = pages_of_slot_[slot];
  const uint32_t kept = divide_up(positions, kernels::kPageSize);
  while (pages.size() > kept) {
    let_go(pages.back());
    pages.pop_back();
  }
}

KvCache::Streamed streamed_cache(const ModelConfig& config, uint32_t streamed, uint32_t batch_tokens, uint32_t slots,
                                 uint64_t pages) {
  KvCache::Streamed cache;
  for (uint32_t layer = 0; layer < config.num_layers; ++layer) {
    if (is_streamed(layer, config.num_layers, streamed)) cache.layers.push_back(layer);
  }
  if (streamed == 0) return cache;
  // Twice what a pass writes (a sequence's tokens may begin and end within a page), so that the tail is not emptied at
  // each pass; and a good part of the cache, as what goes to the host together is copied together.
  const uint32_t pages_of_pass = divide_up(batch_tokens, kernels::kPageSize) + 2 * slots;
  cache.tail_pages = std::max(2 * pages_of_pass, static_cast<uint32_t>(pages / 16));
  return cache;
}

}  // namespace cria::model
