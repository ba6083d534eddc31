#include "engine/spill.h"

#include <algorithm>

namespace cria::engine {
namespace {

/// The buffers that a page has a part in, in the order of PageCopies.
std::vector<const gpu::Buffer*> buffers_of(Engine& engine) {
  std::vector<const gpu::Buffer*> buffers;
  for (uint32_t layer = 0; layer < engine.config().num_layers; ++layer) {
    buffers.push_back(&engine.model().kv_cache().layer(layer).keys);
    buffers.push_back(&engine.model().kv_cache().layer(layer).values);
  }
  return buffers;
}

}  // namespace

uint64_t PageSpill::page_bytes(Engine& engine) {
  return engine.model().kv_cache().page_bytes() * engine.config().num_layers * 2;
}

Result<PageSpill> PageSpill::create(Engine& engine) {
  PageSpill spill;
  CRIA_TRY_ASSIGN(spill.gathered_,
                  engine.device().create_buffer("KV spill", page_bytes(engine), gpu::MemoryKind::kScratch));
  return spill;
}

Result<PageCopies> PageSpill::save(Engine& engine, uint32_t slot, uint32_t pages) const {
  const std::vector<const gpu::Buffer*> buffers = buffers_of(engine);
  const uint64_t part = engine.model().kv_cache().page_bytes();
  const uint64_t whole = page_bytes(engine);
  PageCopies copies(pages * whole);
  for (uint32_t page = 0; page < pages; ++page) {
    const uint64_t at = engine.model().kv_cache().pages(slot)[page] * part;
    gpu::Recorder recorder = engine.device().record("KV spill");
    for (size_t i = 0; i < buffers.size(); ++i) recorder.copy(*buffers[i], at, gathered_, i * part, part);
    CRIA_TRY_ASSIGN(gpu::PendingRead read, recorder.read(gathered_, 0, whole));
    CRIA_TRY(recorder.submit());
    CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, read.wait());
    std::ranges::copy(bytes, copies.begin() + static_cast<std::ptrdiff_t>(page * whole));
  }
  return copies;
}

Status PageSpill::restore(Engine& engine, uint32_t slot, uint32_t first, const PageCopies& copies) {
  const std::vector<const gpu::Buffer*> buffers = buffers_of(engine);
  const uint64_t part = engine.model().kv_cache().page_bytes();
  const uint64_t whole = page_bytes(engine);
  const auto pages = static_cast<uint32_t>(copies.size() / whole);
  for (uint32_t page = first; page < pages; ++page) {
    const uint64_t at = engine.model().kv_cache().pages(slot)[page] * part;
    for (size_t i = 0; i < buffers.size(); ++i) {
      CRIA_TRY(engine.device().write(*buffers[i], at, std::span(copies).subspan(page * whole + i * part, part)));
    }
  }
  return {};
}

}  // namespace cria::engine
