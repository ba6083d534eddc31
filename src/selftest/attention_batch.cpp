#include "selftest/attention_batch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "quant/float16.h"
#include "selftest/cases.h"

namespace cria::selftest {

using kernels::kPageSize;
using kernels::KvType;

kernels::AttentionShape BatchShape::attention() const {
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  return {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .scale = scale};
}

uint64_t BatchShape::cache_bytes(KvType type) const {
  return uint64_t{pages()} * kv_heads * kPageSize * kernels::kv_row_bytes(type, head_dim);
}

std::string describe(const BatchShape& shape) {
  std::string text = fmt::format("heads {} over {} of {}, positions", shape.heads, shape.kv_heads, shape.head_dim);
  for (const Run& run : shape.runs) {
    text += fmt::format(" {}", run.position);
    if (run.count > 1) text += fmt::format("-{}", run.position + run.count - 1);
  }
  if (shape.window > 0) text += fmt::format(", window {}", shape.window);
  if (shape.follow) text += ", pages that follow one another";
  return text;
}

double smallest_normal(KvType type) { return smallest_normal(type == KvType::kF16 ? Element::kF16 : Element::kF32); }

namespace {

PageTable scatter_pages(Random& random, const BatchShape& shape) {
  std::vector<uint32_t> free(shape.pages());
  std::iota(free.begin(), free.end(), 0U);
  PageTable table;
  for (const Run& run : shape.runs) table.pages_per_slot = std::max(table.pages_per_slot, run.pages() + 1);
  table.pages.assign(table.pages_per_slot * shape.runs.size(), static_cast<uint32_t>(Poison::kInput));
  for (size_t r = 0; r < shape.runs.size(); ++r) {
    for (uint32_t page = 0; page < shape.runs[r].pages(); ++page) {
      const auto taken = free.begin() + (shape.follow ? 1 : random.below(static_cast<uint32_t>(free.size())));
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

CacheImage::CacheImage(const BatchShape& shape, KvType type, Poison poison)
    : type_(type),
      head_dim_(shape.head_dim),
      rows_(size_t{shape.pages()} * shape.kv_heads * kPageSize),
      words_(rows_ * kernels::kv_row_bytes(type, shape.head_dim) / 4 + kTailWords, static_cast<uint32_t>(poison)) {}

std::span<const uint32_t> CacheImage::row_words(size_t row) const {
  const size_t size = kernels::kv_row_bytes(type_, head_dim_) / 4;
  return std::span(words_).subspan(row * size, size);
}

void CacheImage::set_row(size_t row, std::span<double> values) {
  const size_t size = row_words(row).size();
  uint32_t* words = words_.data() + row * size;
  switch (type_) {
    case KvType::kF32:
      for (uint32_t i = 0; i < head_dim_; ++i) words[i] = std::bit_cast<uint32_t>(static_cast<float>(values[i]));
      break;
    case KvType::kF16:
      for (uint32_t i = 0; i < head_dim_; i += 2) {
        words[i / 2] = quant::f32_to_f16(static_cast<float>(values[i])) |
                       uint32_t{quant::f32_to_f16(static_cast<float>(values[i + 1]))} << 16;
      }
      break;
    case KvType::kInt8: {
      double largest = 0;
      for (const double value : values) largest = std::max(largest, std::abs(value));
      const auto scale = static_cast<float>(largest / 127);
      std::fill_n(words, size, 0U);
      for (uint32_t i = 0; i < head_dim_; ++i) {
        const auto integer = static_cast<int8_t>(scale > 0 ? std::round(values[i] / scale) : 0);
        words[i / 4] |= uint32_t{static_cast<uint8_t>(integer)} << (8 * (i % 4));
      }
      words[head_dim_ / 4] = std::bit_cast<uint32_t>(scale);
    }
  }
  const std::vector<double> stored = this->row(row);
  std::ranges::copy(stored, values.begin());
}

std::vector<double> CacheImage::row(size_t row) const {
  const std::span<const uint32_t> words = row_words(row);
  std::vector<double> values(head_dim_);
  for (uint32_t i = 0; i < head_dim_; ++i) {
    switch (type_) {
      case KvType::kF32: values[i] = std::bit_cast<float>(words[i]); break;
      case KvType::kF16: values[i] = quant::f16_to_f32(static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)))); break;
      case KvType::kInt8: {
        const auto integer = static_cast<int8_t>(words[i / 4] >> (8 * (i % 4)));
        values[i] = std::bit_cast<float>(words[head_dim_ / 4]) * static_cast<float>(integer);
      }
    }
  }
  return values;
}

void CacheImage::assign(std::span<const uint32_t> words) {
  CRIA_CHECK(words.size() == words_.size());
  std::ranges::copy(words, words_.begin());
}

Result<CacheTarget> CacheTarget::create(gpu::Device& device, std::string_view name, CacheImage before) {
  CRIA_TRY_ASSIGN(gpu::Buffer buffer, upload_words(device, name, before.words()));
  return CacheTarget{.name = std::string(name), .before = std::move(before), .buffer = std::move(buffer)};
}

Result<CacheImage> CacheTarget::read(gpu::Device& device) const {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> words, download(device, buffer));
  CacheImage image = before;
  image.assign(words);
  return image;
}

namespace {

/// What storing may do to a value of a row whose largest is `largest`.
double storage_error(KvType type, double value, double largest) {
  switch (type) {
    case KvType::kF32: return 0;
    case KvType::kF16: return value < 0x1p-14 ? std::max(value, 0x1p-24) : value * 0x1p-10;
    case KvType::kInt8: return (0.5 + 1e-4) * largest / 127;
  }
  return 0;
}

}  // namespace

CaseOutcome CacheTarget::compare(const CacheImage& after, std::span<const double> right,
                                 std::span<const double> off) const {
  CaseOutcome outcome;
  const auto fail_with = [&](size_t row, std::string text) {
    outcome.add({.worst = std::numeric_limits<double>::infinity(),
                 .failure = fmt::format("row {} of {} {}", row, name, std::move(text))});
  };
  for (size_t row = 0; row < before.rows(); ++row) {
    const std::vector<double> got = after.row(row);
    const std::span<const double> expected = right.subspan(row * got.size(), got.size());
    if (std::isnan(expected[0])) {
      if (!std::ranges::equal(before.row_words(row), after.row_words(row))) {
        fail_with(row, "was written, but is not the kernel's to write");
      }
      continue;
    }
    const auto error = [&](size_t i) { return off.empty() ? 0 : off[row * got.size() + i]; };
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, std::abs(expected[i]) + error(i));
    for (size_t i = 0; i < got.size(); ++i) {
      const double tolerance = error(i) + storage_error(before.type(), std::abs(expected[i]) + error(i), largest);
      const double distance = std::abs(got[i] - expected[i]);
      if (!(distance <= tolerance)) {
        fail_with(row, fmt::format("has {:.9g} instead of {:.9g} at {} (tolerance {:.3g})", got[i], expected[i], i,
                                   tolerance));
      } else if (distance > 0) {
        outcome.worst = std::max(outcome.worst, distance / tolerance);
      }
    }
  }
  const size_t tail = before.words().size() - kTailWords;
  outcome.add(compare_words("the tail of " + name, before.words().subspan(tail), after.words().subspan(tail)));
  return outcome;
}

FilledCache fill_cache(Random& random, KvType type, const BatchShape& shape, const PageTable& table,
                       PositionsFilled filled) {
  FilledCache cache{.cpu = PagedCache(shape.pages(), shape.kv_heads, shape.head_dim),
                    .keys = CacheImage(shape, type, Poison::kInput),
                    .values = CacheImage(shape, type, Poison::kInput)};
  for (size_t r = 0; r < shape.runs.size(); ++r) {
    const Run& run = shape.runs[r];
    const uint32_t begin = shape.window == 0 ? 0 : run.position + 1 - std::min(shape.window, run.position + 1);
    const uint32_t end = run.position + (filled == PositionsFilled::kAll ? run.count : 0);
    for (uint32_t position = begin; position < end; ++position) {
      for (uint32_t head = 0; head < shape.kv_heads; ++head) {
        const size_t at = cache.cpu.at(table.page(shape.slot(r), position), head, position);
        const auto keys = std::span(cache.cpu.keys).subspan(at, shape.head_dim);
        const auto values = std::span(cache.cpu.values).subspan(at, shape.head_dim);
        std::ranges::generate(keys, [&] { return random.unit(); });
        std::ranges::generate(values, [&] { return random.value(); });
        cache.keys.set_row(at / shape.head_dim, keys);
        cache.values.set_row(at / shape.head_dim, values);
      }
    }
  }
  return cache;
}

Table random_turns(Random& random, uint32_t tokens, uint32_t head_dim) {
  Table cos_sin(tokens, head_dim);
  for (size_t i = 0; i < cos_sin.values.size(); i += 2) {
    const double angle = 100.0 * static_cast<double>(random.unit());
    cos_sin.values[i] = std::cos(angle);
    cos_sin.values[i + 1] = std::sin(angle);
  }
  return cos_sin;
}

Result<CaseOutcome> check_new_rows(gpu::Device& device, const CacheTarget& target, const BatchShape& shape,
                                   const Batch& batch, const Expected& rows, size_t first_column,
                                   std::vector<double>& cached) {
  PagedCache right(shape.pages(), shape.kv_heads, shape.head_dim);
  std::vector<double> off(right.keys.size());
  CRIA_TRY_ASSIGN(const CacheImage after, target.read(device));
  for (size_t t = 0; t < batch.tokens.size(); ++t) {
    const BatchToken& token = batch.tokens[t];
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const size_t at = right.at(batch.table.page(token.slot, token.position), head, token.position);
      for (uint32_t i = 0; i < shape.head_dim; ++i) {
        const size_t column = first_column + size_t{head} * shape.head_dim + i;
        right.keys[at + i] = rows.value.at(t, column);
        off[at + i] = rows.tolerance.at(t, column);
      }
      std::ranges::copy(after.row(at / shape.head_dim), cached.begin() + static_cast<ptrdiff_t>(at));
    }
  }
  return target.compare(after, right.keys, off);
}

}  // namespace cria::selftest
