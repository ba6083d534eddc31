#include "model/kv_stream.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace cria::model {
namespace {

Result<kernels::KvLayer> create_layer(gpu::Device& device, std::string_view label, uint64_t bytes) {
  kernels::KvLayer layer;
  CRIA_TRY_ASSIGN(layer.keys, device.create_buffer(label, bytes, gpu::MemoryKind::kKv));
  CRIA_TRY_ASSIGN(layer.values, device.create_buffer(label, bytes, gpu::MemoryKind::kKv));
  return layer;
}

}  // namespace

Result<KvStream> KvStream::create(gpu::Device& device, std::vector<uint32_t> layers, uint64_t page_bytes,
                                  uint32_t tail_pages) {
  KvStream stream;
  stream.page_bytes_ = page_bytes;
  stream.tail_pages_ = tail_pages;
  for (uint32_t page = tail_pages; page > 0; --page) stream.free_tail_.push_back(page - 1);
  for (size_t i = 0; i < layers.size(); ++i) {
    CRIA_TRY_ASSIGN(kernels::KvLayer tail, create_layer(device, "KV tail", tail_pages * page_bytes));
    stream.tails_.push_back(std::move(tail));
  }
  stream.layers_ = std::move(layers);
  stream.windows_.resize(std::min<size_t>(2, stream.layers_.size()));
  return stream;
}

size_t KvStream::number(uint32_t layer) const {
  const auto place = std::ranges::lower_bound(layers_, layer);
  return place == layers_.end() || *place != layer ? layers_.size() : static_cast<size_t>(place - layers_.begin());
}

bool KvStream::holds(uint32_t layer) const { return number(layer) < layers_.size(); }

const kernels::KvLayer& KvStream::window(uint32_t layer) const { return windows_[number(layer) % 2]; }

Status KvStream::resize(gpu::Device& device, uint32_t pages) {
  for (kernels::KvLayer& window : windows_) {
    window = {};  // first, so that there are never two of them
    CRIA_TRY_ASSIGN(window, create_layer(device, "KV window", pages * page_bytes_));
  }
  places_.resize(pages);
  return {};
}

std::vector<KvStream::Run> KvStream::runs(std::span<const uint32_t> pages) const {
  std::vector<uint32_t> ascending(pages.begin(), pages.end());
  std::ranges::sort(ascending);
  ascending.erase(std::ranges::unique(ascending).begin(), ascending.end());
  std::vector<Run> runs;
  for (const uint32_t page : ascending) {
    const Place& place = places_[page];
    if (!place.in_tail && !place.chunk) continue;  // written for the first time
    if (!runs.empty()) {
      Run& last = runs.back();
      if (last.page + last.count == page && last.place.chunk == place.chunk && last.place.in_tail == place.in_tail &&
          last.place.index + last.count == place.index) {
        ++last.count;
        continue;
      }
    }
    runs.push_back({.page = page, .count = 1, .place = place});
  }
  return runs;
}

Status KvStream::begin_pass(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> read,
                            std::span<const uint32_t> written) {
  if (empty()) return {};
  CRIA_TRY(move_to_tail(device, recorder, written));
  reads_ = runs(read);
  writes_ = runs(written);
  return {};
}

Status KvStream::move_to_tail(gpu::Device& device, gpu::Recorder& recorder, std::span<const uint32_t> pages) {
  const auto missing =
      static_cast<size_t>(std::ranges::count_if(pages, [&](uint32_t page) { return !places_[page].in_tail; }));
  if (missing > free_tail_.size()) CRIA_TRY(empty_tail(device, pages));
  CRIA_CHECK(missing <= free_tail_.size());
  for (const uint32_t page : pages) {
    if (places_[page].in_tail) continue;
    const uint32_t target = free_tail_.back();
    free_tail_.pop_back();
    if (places_[page].chunk) {  // its text was cut off within it, and goes on
      const Run run{.page = page, .count = 1, .place = places_[page]};
      for (size_t i = 0; i < layers_.size(); ++i) copy_run(recorder, i, run, tails_[i], target);
    }
    places_[page] = {.chunk = nullptr, .in_tail = true, .index = target};
  }
  return {};
}

/// Moves all pages of the tail to the host but those that are about to be written.
Status KvStream::empty_tail(gpu::Device& device, std::span<const uint32_t> except) {
  std::vector<uint32_t> moved;
  for (uint32_t page = 0; page < places_.size(); ++page) {
    if (places_[page].in_tail && std::ranges::find(except, page) == except.end()) moved.push_back(page);
  }
  auto chunk = std::make_shared<Chunk>();
  chunk->pages = static_cast<uint32_t>(moved.size());
  const uint64_t part_bytes = chunk->pages * page_bytes_;
  CRIA_TRY_ASSIGN(chunk->data, device.create_host_buffer("KV pages in host memory", 2 * layers_.size() * part_bytes));
  std::span<std::byte> target = chunk->data.writable();
  for (const kernels::KvLayer& tail : tails_) {
    for (const gpu::Buffer* buffer : {&tail.keys, &tail.values}) {
      CRIA_TRY_ASSIGN(const std::vector<std::byte> all, device.read(*buffer, 0, tail_pages_ * page_bytes_));
      for (const uint32_t page : moved) {
        std::memcpy(target.data(), all.data() + places_[page].index * page_bytes_, page_bytes_);
        target = target.subspan(page_bytes_);
      }
    }
  }
  chunk->data.seal();
  for (uint32_t i = 0; i < chunk->pages; ++i) {
    Place& place = places_[moved[i]];
    free_tail_.push_back(place.index);
    place = {.chunk = chunk, .in_tail = false, .index = i};
  }
  return {};
}

void KvStream::copy_run(gpu::Recorder& recorder, size_t streamed, const Run& run, const kernels::KvLayer& target,
                        uint32_t target_page) const {
  const uint64_t bytes = run.count * page_bytes_;
  const uint64_t to = target_page * page_bytes_;
  const uint64_t from = run.place.index * page_bytes_;
  if (run.place.in_tail) {
    recorder.copy(tails_[streamed].keys, from, target.keys, to, bytes);
    recorder.copy(tails_[streamed].values, from, target.values, to, bytes);
    return;
  }
  const Chunk& chunk = *run.place.chunk;
  const uint64_t keys = 2 * streamed * chunk.pages * page_bytes_;
  recorder.copy(chunk.data, keys + from, target.keys, to, bytes);
  recorder.copy(chunk.data, keys + chunk.pages * page_bytes_ + from, target.values, to, bytes);
}

void KvStream::copy_in(gpu::Recorder& recorder, size_t streamed) const {
  recorder.split();  // a slow link must not make one submission long
  for (const Run& run : reads_) copy_run(recorder, streamed, run, windows_[streamed % 2], run.page);
}

void KvStream::before_layer(gpu::Recorder& recorder, uint32_t layer) const {
  if (empty()) return;
  if (layer == 0) copy_in(recorder, 0);
  const size_t streamed = number(layer);
  // The other window was used by the streamed layer before this one, which has been recorded.
  if (streamed + 1 < layers_.size()) copy_in(recorder, streamed + 1);
}

void KvStream::after_layer(gpu::Recorder& recorder, uint32_t layer) const {
  if (!holds(layer)) return;
  const size_t streamed = number(layer);
  const kernels::KvLayer& window = windows_[streamed % 2];
  const kernels::KvLayer& tail = tails_[streamed];
  for (const Run& run : writes_) {
    const uint64_t from = run.page * page_bytes_;
    const uint64_t to = run.place.index * page_bytes_;
    recorder.copy(window.keys, from, tail.keys, to, run.count * page_bytes_);
    recorder.copy(window.values, from, tail.values, to, run.count * page_bytes_);
  }
}

void KvStream::bring(gpu::Recorder& recorder, uint32_t layer) const {
  if (holds(layer)) copy_in(recorder, number(layer));
}

void KvStream::forget(uint32_t page) {
  if (empty()) return;
  if (places_[page].in_tail) free_tail_.push_back(places_[page].index);
  places_[page] = {};
}

uint64_t KvStream::bytes_of_pass() const {
  uint64_t pages = 0;
  for (const Run& run : reads_) pages += run.count;
  for (const Run& run : writes_) pages += run.count;
  return 2 * layers_.size() * pages * page_bytes_;
}

}  // namespace cria::model
