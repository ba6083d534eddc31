// What golden tests share: reading a golden.safetensors, running like the reference, comparing logits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "engine/sequence.h"
#include "formats/safetensors.h"

namespace cria {

/// Logits of the reference were computed in f32, from the weights as stored.
inline constexpr float kLogitTolerance = 1e-3F;

/// A copy of a tensor's elements; fails the test where the file has none of that name.
template <typename T>
std::vector<T> values(const formats::Safetensors& file, std::string_view name) {
  for (const formats::TensorView& tensor : file.tensors()) {
    if (tensor.name != name) continue;
    std::vector<T> copy(tensor.data.size() / sizeof(T));
    std::memcpy(copy.data(), tensor.data.data(), tensor.data.size());
    return copy;
  }
  ADD_FAILURE() << "golden file has no tensor " << name;
  return {};
}

/// The largest absolute difference; NaN counts as infinitely far.
inline float worst_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

/// Options under which the likeliest token is taken, whatever came before.
inline engine::GenerateOptions greedy_options(size_t max_tokens) {
  engine::GenerateOptions options;
  options.sampling = {.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .seed = 0};
  options.max_tokens = static_cast<uint32_t>(max_tokens);
  return options;
}

/// Row `index` of logits [rows, vocab_size].
inline std::span<const float> logits_row(const std::vector<float>& logits, size_t index, size_t vocab_size) {
  return std::span(logits).subspan(index * vocab_size, vocab_size);
}

}  // namespace cria
