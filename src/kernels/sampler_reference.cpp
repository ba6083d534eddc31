#include "kernels/sampler_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace cria::kernels {
namespace {

constexpr float kLargest = 3.4e38F;  // a penalised logit stays finite
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool has_penalties(const SamplerRow& row) {
  return row.repetition_penalty != 1.0F || row.presence_penalty != 0 || row.frequency_penalty != 0;
}

/// What the penalties of generated tokens take off.
float subtracted(uint32_t seen, const SamplerRow& row) {
  const uint32_t generated = seen & ~kInPrompt;
  return generated == 0 ? 0 : row.presence_penalty + row.frequency_penalty * static_cast<float>(generated);
}

float penalised(float logit, uint32_t seen, const SamplerRow& row) {
  if (seen == 0 || !has_penalties(row)) return logit;
  const float penalty = row.repetition_penalty;
  const float repeated = std::clamp(logit > 0 ? logit / penalty : logit * penalty, -kLargest, kLargest);
  return std::clamp(repeated - subtracted(seen, row), -kLargest, kLargest);
}

/// The tokens that the filters leave, likeliest first (lower tokens first among equals), with z and weight.
struct Kept {
  struct Item {
    uint32_t token = 0;
    float logit = 0;
    double z = 0;
    double weight = 0;
  };
  std::vector<Item> items;
  double margin = kInfinity;
  double most_subtracted = 0;  // a difference may be small, and as far off as what it is made of

  void note(double gap) { margin = std::min(margin, std::abs(gap)); }
  /// The end of the run of equal logits that begins at or before `last`.
  [[nodiscard]] size_t end_of_tie(size_t last) const {
    size_t end = last + 1;
    while (end < items.size() && items[end].logit == items[last].logit) ++end;
    return end;
  }
};

double relative_gap(float a, float b, double most_subtracted) {
  const double size = std::max({std::abs(double{a}), std::abs(double{b}), most_subtracted});
  return size == 0 ? 0 : std::abs(double{a} - double{b}) / size;
}

Kept penalise(std::span<const float> logits, std::span<const uint32_t> seen, const SamplerRow& row) {
  Kept kept;
  kept.items.reserve(logits.size());
  for (size_t token = 0; token < logits.size(); ++token) {
    const uint32_t word = seen.empty() ? 0 : seen[token];
    kept.items.push_back({.token = static_cast<uint32_t>(token), .logit = penalised(logits[token], word, row)});
    kept.most_subtracted = std::max(kept.most_subtracted, double{std::abs(subtracted(word, row))});
  }
  std::stable_sort(kept.items.begin(), kept.items.end(),
                   [](const Kept::Item& a, const Kept::Item& b) { return a.logit > b.logit; });
  return kept;
}

/// Cuts the items off after `end`. Penalised logits may be rounded otherwise on the GPU; without a penalty logits are
/// compared exactly.
void keep_top_k(Kept& kept, const SamplerRow& row) {
  if (row.top_k == 0 || row.top_k >= kept.items.size()) return;
  const size_t end = kept.end_of_tie(row.top_k - 1);
  if (has_penalties(row)) {
    if (end > row.top_k) kept.note(0);
    if (end < kept.items.size()) {
      kept.note(relative_gap(kept.items[end - 1].logit, kept.items[end].logit, kept.most_subtracted));
    }
  }
  kept.items.resize(end);
}

void keep_top_p(Kept& kept, const SamplerRow& row) {
  if (row.top_p >= 1.0F) return;
  double total = 0;
  for (auto item = kept.items.rbegin(); item != kept.items.rend(); ++item) total += item->weight;
  const double goal = total * row.top_p;
  double sum = 0;
  size_t end = 0;
  while (end < kept.items.size() && sum < goal) {
    kept.note((goal - sum) / total);
    const size_t next = kept.end_of_tie(end);
    for (; end < next; ++end) sum += kept.items[end].weight;
  }
  kept.note((sum - goal) / total);
  kept.items.resize(std::max<size_t>(end, 1));
}

void keep_min_p(Kept& kept, const SamplerRow& row) {
  if (row.min_p <= 0) return;
  const double lowest = std::log(double{row.min_p});
  size_t end = 0;
  for (; end < kept.items.size() && kept.items[end].z >= lowest; ++end) kept.note(kept.items[end].z - lowest);
  if (end < kept.items.size()) kept.note(kept.items[end].z - lowest);
  kept.items.resize(std::max<size_t>(end, 1));
}

/// Rules 1 to 5 of sample.wgsl.
Kept filter(std::span<const float> logits, std::span<const uint32_t> seen, const SamplerRow& row) {
  Kept kept = penalise(logits, seen, row);
  if (row.temperature < kGreedyTemperature) {
    if (kept.items.size() > 1 && has_penalties(row)) {
      kept.note(relative_gap(kept.items[0].logit, kept.items[1].logit, kept.most_subtracted));
    }
    kept.items.resize(1);
    kept.items[0].weight = 1;
    return kept;
  }
  keep_top_k(kept, row);
  const double highest = kept.items[0].logit;
  for (Kept::Item& item : kept.items) {
    item.z = (item.logit - highest) / row.temperature;
    item.weight = std::exp(item.z);
  }
  keep_top_p(kept, row);
  keep_min_p(kept, row);
  return kept;
}

bool all_finite(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
}

/// -log(-log(1 - v)) for v = (bits + 1/2) / 2^32, held below 1 as in the shader.
double gumbel(uint32_t bits) {
  const double v = std::min((bits + 0.5) * 0x1p-32, 1.0 - 0x1p-24);
  return -std::log(-std::log1p(-v));
}

}  // namespace

uint32_t random_bits(const SamplerRow& row, uint32_t token) {
  uint32_t v[4] = {row.seed_low, row.seed_high, row.step, token};
  for (uint32_t& word : v) word = word * 1664525U + 1013904223U;
  const auto mix = [&v] {
    v[0] += v[1] * v[3];
    v[1] += v[2] * v[0];
    v[2] += v[0] * v[1];
    v[3] += v[1] * v[2];
  };
  mix();
  for (uint32_t& word : v) word ^= word >> 16;
  mix();
  return v[3] ^ (v[3] >> 16);
}

ReferenceDraw reference_draw(std::span<const float> logits, std::span<const uint32_t> seen, const SamplerRow& row) {
  CRIA_CHECK(!logits.empty() && (seen.empty() || seen.size() == logits.size()));
  if (!all_finite(logits)) return {.sampled = {.status = SamplerStatus::kNotFinite}, .margin = kInfinity};
  Kept kept = filter(logits, seen, row);
  ReferenceDraw draw;
  double best = -kInfinity;
  double second = -kInfinity;
  for (const Kept::Item& item : kept.items) {
    const double score = item.z + gumbel(random_bits(row, item.token));
    if (score > best || (score == best && item.token < draw.sampled.token)) {
      second = std::max(second, best);
      best = score;
      draw.sampled.token = item.token;
    } else {
      second = std::max(second, score);
    }
  }
  kept.note(best - second);
  draw.margin = kept.margin;
  return draw;
}

std::vector<double> reference_distribution(std::span<const float> logits, std::span<const uint32_t> seen,
                                           const SamplerRow& row) {
  std::vector<double> probabilities(logits.size());
  if (logits.empty() || !all_finite(logits)) return probabilities;
  const Kept kept = filter(logits, seen, row);
  const double total = std::accumulate(kept.items.begin(), kept.items.end(), 0.0,
                                       [](double sum, const Kept::Item& item) { return sum + item.weight; });
  for (const Kept::Item& item : kept.items) probabilities[item.token] = item.weight / total;
  return probabilities;
}

}  // namespace cria::kernels
