#include "selftest/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cria::selftest {
namespace {

/// One unit in the last place of an f32, relative to it, at most.
constexpr double kUlp = 0x1p-23;
/// Results below the smallest normal f32 may be flushed to 0.
constexpr double kTiny = 0x1p-126;

double flush_error(double stored, double smallest_normal) {
  return std::abs(stored) < smallest_normal ? std::abs(stored) : 0.0;
}

/// The weights of one query's softmax and the relative error that each may have.
struct Softmax {
  std::vector<double> weights;  // exp(score - maximum)
  std::vector<double> errors;
  double sum = 0;
};

/// `magnitudes` are the sums of |q k| behind each score, `flushed` what flushed keys may take from it.
Softmax softmax(const std::vector<double>& scores, const std::vector<double>& magnitudes,
                const std::vector<double>& flushed, double terms) {
  const double maximum = *std::max_element(scores.begin(), scores.end());
  Softmax result;
  for (size_t j = 0; j < scores.size(); ++j) {
    const double x = scores[j] - maximum;
    const double score_error = (terms + 2) * kUlp * magnitudes[j] + flushed[j];
    const auto rescalings = static_cast<double>(scores.size());
    const double exp_error = (3 * rescalings + 3 * std::abs(x)) * kUlp;
    result.weights.push_back(std::exp(x));
    result.errors.push_back(std::expm1(score_error + exp_error));
    result.sum += result.weights.back();
  }
  return result;
}

}  // namespace

PagedCache::PagedCache(uint32_t pages, uint32_t heads, uint32_t dim)
    : kv_heads(heads),
      head_dim(dim),
      keys(size_t{pages} * heads * kernels::kPageSize * dim, std::numeric_limits<double>::quiet_NaN()),
      values(keys) {}

size_t PagedCache::at(uint32_t page, uint32_t head, uint32_t position) const {
  return ((size_t{page} * kv_heads + head) * kernels::kPageSize + position % kernels::kPageSize) * head_dim;
}

namespace reference {

Expected embedding(const Table& table, std::span<const uint32_t> tokens, double smallest_normal) {
  Expected y(tokens.size(), table.columns);
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (size_t i = 0; i < table.columns; ++i) {
      const double stored = table.at(tokens[t], i);
      y.set(t, i, stored, flush_error(stored, smallest_normal));
    }
  }
  return y;
}

Expected rms_norm(const Table& x, std::span<const double> weight, double epsilon) {
  Expected y(x.rows, x.columns);
  const auto n = static_cast<double>(x.columns);
  const double relative_error = ((n + 1) / 2 + 2.5 / 2 + 0.5 + 4.5 + 2.5 + 2) * kUlp;
  for (size_t r = 0; r < x.rows; ++r) {
    double squares = 0;
    for (size_t i = 0; i < x.columns; ++i) squares += x.at(r, i) * x.at(r, i);
    const double factor = 1 / std::sqrt(squares / n + epsilon);
    for (size_t i = 0; i < x.columns; ++i) {
      const double value = x.at(r, i) * factor * weight[i];
      y.set(r, i, value, relative_error * std::abs(value) + kTiny);
    }
  }
  return y;
}

Expected linear(const Table& weight, const Table& x, std::span<const double> bias, double smallest_normal) {
  Expected y(x.rows, weight.rows);
  const double relative_error = (static_cast<double>(weight.columns) + 2) * kUlp;
  for (size_t t = 0; t < x.rows; ++t) {
    for (size_t r = 0; r < weight.rows; ++r) {
      double sum = bias.empty() ? 0 : bias[r];
      double magnitudes = std::abs(sum);
      double flushed = 0;
      for (size_t k = 0; k < weight.columns; ++k) {
        const double w = weight.at(r, k);
        const double product = w * x.at(t, k);
        sum += product;
        magnitudes += std::abs(product);
        flushed += flush_error(w, smallest_normal) * std::abs(x.at(t, k));
      }
      y.set(t, r, sum, relative_error * magnitudes + flushed + kTiny);
    }
  }
  return y;
}

Expected rope(const Table& x, const Table& cos_sin, uint32_t heads, uint32_t head_dim) {
  Expected y(x.rows, x.columns);
  const uint32_t half = head_dim / 2;
  for (size_t t = 0; t < x.rows; ++t) {
    for (uint32_t head = 0; head < heads; ++head) {
      for (uint32_t i = 0; i < half; ++i) {
        const size_t low = size_t{head} * head_dim + i;
        const size_t high = low + half;
        const double a = x.at(t, low);
        const double b = x.at(t, high);
        const double cosine = cos_sin.at(t, size_t{2} * i);
        const double sine = cos_sin.at(t, size_t{2} * i + 1);
        const auto tolerance = [](double p, double q) { return 2 * kUlp * (std::abs(p) + std::abs(q)) + kTiny; };
        y.set(t, low, a * cosine - b * sine, tolerance(a * cosine, b * sine));
        y.set(t, high, b * cosine + a * sine, tolerance(b * cosine, a * sine));
      }
    }
  }
  return y;
}

void kv_write(const Table& qkv, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
              const PageTable& table, PagedCache& cache) {
  for (size_t t = 0; t < tokens.size(); ++t) {
    const uint32_t page = table.page(tokens[t].slot, tokens[t].position);
    for (uint32_t head = 0; head < shape.kv_heads; ++head) {
      const size_t to = cache.at(page, head, tokens[t].position);
      const size_t from = shape.q_size() + size_t{head} * shape.head_dim;
      for (uint32_t i = 0; i < shape.head_dim; ++i) {
        cache.keys[to + i] = qkv.at(t, from + i);
        cache.values[to + i] = qkv.at(t, from + shape.kv_size() + i);
      }
    }
  }
}

Expected attention(const Table& qkv, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                   const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal) {
  Expected y(tokens.size(), shape.q_size());
  const uint32_t dim = shape.head_dim;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const uint32_t end = tokens[t].position + 1;
    const uint32_t begin = window == 0 || window > end ? 0 : end - window;
    for (uint32_t head = 0; head < shape.heads; ++head) {
      const uint32_t kv_head = head / (shape.heads / shape.kv_heads);
      std::vector<size_t> places;
      std::vector<double> scores;
      std::vector<double> magnitudes;
      std::vector<double> flushed;
      for (uint32_t j = begin; j < end; ++j) {
        places.push_back(cache.at(table.page(tokens[t].slot, j), kv_head, j));
        double score = 0;
        double magnitude = 0;
        double lost = 0;
        for (uint32_t i = 0; i < dim; ++i) {
          const double q = qkv.at(t, size_t{head} * dim + i);
          const double k = cache.keys[places.back() + i];
          score += q * k;
          magnitude += std::abs(q * k);
          lost += std::abs(q) * flush_error(k, smallest_normal);
        }
        scores.push_back(score * shape.scale);
        magnitudes.push_back(magnitude * shape.scale);
        flushed.push_back(lost * shape.scale);
      }
      const Softmax soft = softmax(scores, magnitudes, flushed, dim);
      for (uint32_t i = 0; i < dim; ++i) {
        // With weights w (1 + d): error <= sum w d |v| / sum w + |y| sum w d / sum w, then the arithmetic.
        double sum = 0;
        double magnitude = 0;
        double off = 0;
        double sum_off = 0;
        for (size_t j = 0; j < places.size(); ++j) {
          const double v = cache.values[places[j] + i];
          const double w = soft.weights[j] / soft.sum;
          sum += w * v;
          magnitude += w * std::abs(v);
          off += w * (soft.errors[j] * std::abs(v) + flush_error(v, smallest_normal));
          sum_off += w * soft.errors[j];
        }
        const double arithmetic = (static_cast<double>(places.size()) + 4) * 2 * kUlp * magnitude;
        y.set(t, size_t{head} * dim + i, sum, off + std::abs(sum) * sum_off + arithmetic + kTiny);
      }
    }
  }
  return y;
}

Expected swiglu(const Table& gate_up) {
  const size_t size = gate_up.columns / 2;
  Expected y(gate_up.rows, size);
  for (size_t t = 0; t < gate_up.rows; ++t) {
    for (size_t i = 0; i < size; ++i) {
      const double gate = gate_up.at(t, 2 * i);
      const double value = gate / (1 + std::exp(-gate)) * gate_up.at(t, 2 * i + 1);
      if (gate < -80) {
        y.set(t, i, 0, std::abs(value) + kTiny);
        continue;
      }
      const double share = 1 / (1 + std::exp(gate));  // of exp(-gate) in 1 + exp(-gate)
      const double relative_error = (share * (3 + 2 * std::abs(gate)) + 4.5) * kUlp;
      y.set(t, i, value, relative_error * std::abs(value) + kTiny);
    }
  }
  return y;
}

Expected residual_add(const Table& x, const Table& y) {
  Expected sum(y.rows, y.columns);
  for (size_t r = 0; r < y.rows; ++r) {
    for (size_t i = 0; i < y.columns; ++i) {
      const double value = y.at(r, i) + x.at(r, i);
      sum.set(r, i, value, kUlp * std::abs(value) + kTiny);
    }
  }
  return sum;
}

Expected gather_rows(const Table& x, std::span<const uint32_t> rows) {
  Expected y(rows.size(), x.columns);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < x.columns; ++i) y.set(r, i, x.at(rows[r], i), 0);
  }
  return y;
}

}  // namespace reference
}  // namespace cria::selftest
