#include "selftest/attention_batch.h"

#include <algorithm>
#include <cmath>

#include "selftest/cases.h"

namespace cria::selftest {

using kernels::kPageSize;
using kernels::KvType;

kernels::AttentionShape BatchShape::attention() const {
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  return {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale};
}

uint64_t BatchShape::cache_bytes(KvType type) const {
  return uint64_t{pages()} * kv_heads * kPageSize * head_dim * kernels::kv_type_bytes(type);
}

std::string describe(const BatchShape& shape) {
  std::string text = fmt::format("heads {} over {} of {}, positions", shape.heads, shape.kv_heads, shape.head_dim);
  for (const Run& run : shape.runs) {
    text += fmt::format(" {}", run.position);
    if (run.count > 1) text += fmt::format("-{}", run.position + run.count - 1);
  }
  if (shape.window > 0) text += fmt::format(", window {}", shape.window);
  return text;
}

Element element_of(KvType type) { return type == KvType::kF32 ? Element::kF32 : Element::kF16; }

namespace {

PageTable scatter_pages(Random& random, const BatchShape& shape) {
  std::vector<uint32_t> free(shape.pages());
  std::iota(free.begin(), free.end(), 0U);
  PageTable table;
  for (const Run& run : shape.runs) table.pages_per_slot = std::max(table.pages_per_slot, run.pages() + 1);
  table.pages.assign(table.pages_per_slot * shape.runs.size(), static_cast<uint32_t>(Poison::kInput));
  for (size_t r = 0; r < shape.runs.size(); ++r) {
    for (uint32_t page = 0; page < shape.runs[r].pages(); ++page) {
      const auto taken = free.begin() + random.below(static_cast<uint32_t>(free.size()));
      table.pages[size_t{shape.slot(r)} * table.pages_per_slot + page] = *taken;
      free.erase(taken);
    }
  }
  return table;
}

}  // namespace

Result<Batch> make_batch(Trial& trial, const BatchShape& shape, uint32_t tile_tokens) {
  Batch batch;
  batch.table = scatter_pages(trial.random, shape);
  std::vector<uint32_t> info;
  std::vector<uint32_t> tiles;
  for (size_t r = 0; r < shape.runs.size(); ++r) {
    const Run& run = shape.runs[r];
    for (uint32_t done = 0; done < run.count; done += tile_tokens) {
      const auto first = static_cast<uint32_t>(batch.tokens.size()) + done;
      tiles.insert(tiles.end(), {first, std::min(tile_tokens, run.count - done), shape.slot(r), run.position + done});
    }
    for (uint32_t i = 0; i < run.count; ++i) {
      batch.tokens.push_back({.position = run.position + i, .slot = shape.slot(r)});
      info.insert(info.end(), {run.position + i, shape.slot(r)});
    }
  }
  batch.buffers.tokens = shape.tokens();
  batch.buffers.tile_count = static_cast<uint32_t>(tiles.size() / 4);
  batch.buffers.pages_per_slot = batch.table.pages_per_slot;
  CRIA_TRY_ASSIGN(batch.buffers.token_info, upload(trial.device, "token_info", std::move(info)));
  CRIA_TRY_ASSIGN(batch.buffers.tiles, upload(trial.device, "tiles", std::move(tiles)));
  CRIA_TRY_ASSIGN(batch.buffers.page_table, upload(trial.device, "page_table", batch.table.pages));
  return batch;
}

Image cache_image(const BatchShape& shape, KvType type, Poison poison) {
  return {element_of(type), poison, size_t{shape.pages()} * shape.kv_heads * kPageSize, shape.head_dim};
}

double storage_error(KvType type, double value) {
  if (type == KvType::kF32) return 0;
  const double smallest = smallest_normal(Element::kF16);
  return std::abs(value) < smallest ? std::max(std::abs(value), 0x1p-24) : std::abs(value) * 0x1p-10;
}

FilledCache fill_cache(Random& random, KvType type, const BatchShape& shape, const PageTable& table,
                       PositionsFilled filled) {
  FilledCache cache{.cpu = PagedCache(shape.pages(), shape.kv_heads, shape.head_dim),
                    .keys = cache_image(shape, type, Poison::kInput),
                    .values = cache_image(shape, type, Poison::kInput)};
  for (size_t r = 0; r < shape.runs.size(); ++r) {
    const Run& run = shape.runs[r];
    const uint32_t begin = shape.window == 0 ? 0 : run.position + 1 - std::min(shape.window, run.position + 1);
    const uint32_t end = run.position + (filled == PositionsFilled::kAll ? run.count : 0);
    for (uint32_t position = begin; position < end; ++position) {
      for (uint32_t head = 0; head < shape.kv_heads; ++head) {
        const size_t at = cache.cpu.at(table.page(shape.slot(r), position), head, position);
        for (uint32_t i = 0; i < shape.head_dim; ++i) {
          cache.keys.set(at / shape.head_dim, i, random.unit());
          cache.values.set(at / shape.head_dim, i, random.value());
          cache.cpu.keys[at + i] = cache.keys.get(at / shape.head_dim, i);
          cache.cpu.values[at + i] = cache.values.get(at / shape.head_dim, i);
        }
      }
    }
  }
  return cache;
}

}  // namespace cria::selftest
