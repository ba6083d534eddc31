#include "selftest/reference.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace cria::selftest {
namespace {

/// One unit in the last place of an f32, relative to it, at most.
constexpr double kUlp = 0x1p-23;
/// The same of an f16.
constexpr double kHalfUlp = 0x1p-10;
constexpr double kSmallestHalf = 0x1p-14;
/// Results below the smallest normal f32 may be flushed to 0.
constexpr double kTiny = 0x1p-126;

double rms_factor(const Table& x, size_t row, double epsilon) {
  double squares = 0;
  for (size_t i = 0; i < x.columns; ++i) squares += x.at(row, i) * x.at(row, i);
  return 1 / std::sqrt(squares / static_cast<double>(x.columns) + epsilon);
}

/// Relative error of 1 / sqrt(mean of n squares + epsilon).
double rms_factor_error(double n) { return ((n + 1) / 2 + 2.5 / 2 + 0.5 + 4.5 + 2.5) * kUlp; }

double flush_error(double stored, double smallest_normal) {
  return std::abs(stored) < smallest_normal ? std::abs(stored) : 0.0;
}

/// The weights of one query's softmax and the relative error that each may have.
struct Softmax {
  std::vector<double> weights;  // exp(score - maximum)
  std::vector<double> errors;
  double sum = 0;
};

/// `magnitudes` are the sums of |q k| behind each score, `flushed` what flushed keys and errors of queries may change
/// in it.
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
  const double relative_error = rms_factor_error(n) + 2 * kUlp;
  for (size_t r = 0; r < x.rows; ++r) {
    const double factor = rms_factor(x, r, epsilon);
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

Expected linear_in_halves(const Table& weight, const Table& x, std::span<const double> bias, bool weights_are_rounded,
                          const Table& magnitudes) {
  const Table& rounded = magnitudes.values.empty() ? weight : magnitudes;
  Expected y = linear(weight, x, bias, kSmallestHalf);
  for (size_t t = 0; t < x.rows; ++t) {
    for (size_t r = 0; r < weight.rows; ++r) {
      double lost = 0;
      for (size_t k = 0; k < weight.columns; ++k) {
        const double w = weight.at(r, k);
        lost += std::abs(w) * flush_error(x.at(t, k), kSmallestHalf);
        if (weights_are_rounded) lost += kHalfUlp * std::abs(rounded.at(r, k) * x.at(t, k));
      }
      y.tolerance.at(t, r) += lost;
    }
  }
  return y;
}

Expected to_half(Expected y) {
  for (size_t i = 0; i < y.value.values.size(); ++i) {
    double& value = y.value.values[i];
    double& tolerance = y.tolerance.values[i];
    tolerance += kHalfUlp * (std::abs(value) + tolerance) + kSmallestHalf;
    value = std::clamp(value, -65504.0, 65504.0);
  }
  return y;
}

namespace {

/// Sums of magnitudes behind a product, and what may be off by more than their rounding.
struct Sum {
  double value = 0;
  double magnitude = 0;
  double slack = 0;
};

/// Applies the norm's factor, if there is a norm, to sums that are off by `relative_error`.
Expected apply_norm(const Table& x, size_t rows, const Norm& norm, double relative_error, const auto& sum_of) {
  Expected y(x.rows, rows);
  const bool has_norm = !norm.weight.empty();
  if (has_norm) relative_error += rms_factor_error(static_cast<double>(x.columns)) + kUlp;
  for (size_t t = 0; t < x.rows; ++t) {
    const double factor = has_norm ? rms_factor(x, t, norm.epsilon) : 1;
    for (size_t r = 0; r < rows; ++r) {
      const Sum sum = sum_of(t, r);
      y.set(t, r, factor * sum.value, factor * (relative_error * sum.magnitude + sum.slack) + kTiny);
    }
  }
  return y;
}

constexpr size_t kUnit = 32;

/// x quantised in units.
struct QuantisedX {
  QuantisedX(const Table& x, const Norm& norm);
  Table integers;
  Table doubtful;  // 1 where the next integer is as right
  Table scales;    // [tokens, units]
};

QuantisedX::QuantisedX(const Table& x, const Norm& norm)
    : integers(x.rows, x.columns), doubtful(x.rows, x.columns), scales(x.rows, (x.columns + kUnit - 1) / kUnit) {
  const auto element = [&](size_t t, size_t k) { return x.at(t, k) * (norm.weight.empty() ? 1 : norm.weight[k]); };
  for (size_t t = 0; t < x.rows; ++t) {
    for (size_t unit = 0; unit < scales.columns; ++unit) {
      const size_t end = std::min(x.columns, (unit + 1) * kUnit);
      double largest = 0;
      for (size_t k = unit * kUnit; k < end; ++k) largest = std::max(largest, std::abs(element(t, k)));
      scales.at(t, unit) = largest / 127;
      for (size_t k = unit * kUnit; k < end && largest > 0; ++k) {
        const double quotient = element(t, k) / scales.at(t, unit);
        integers.at(t, k) = std::nearbyint(quotient);
        const double to_the_middle = std::abs(std::abs(quotient - std::trunc(quotient)) - 0.5);
        doubtful.at(t, k) = to_the_middle <= 5.5 * kUlp * std::abs(quotient) ? 1 : 0;
      }
    }
  }
}

}  // namespace

Expected product(const Table& weight, const Table& x, const Norm& norm, double smallest_normal) {
  const double relative_error = (static_cast<double>(weight.columns) + 2 + (norm.weight.empty() ? 0 : 1)) * kUlp;
  return apply_norm(x, weight.rows, norm, relative_error, [&](size_t t, size_t r) {
    Sum sum;
    for (size_t k = 0; k < weight.columns; ++k) {
      const double factor = x.at(t, k) * (norm.weight.empty() ? 1 : norm.weight[k]);
      const double term = weight.at(r, k) * factor;
      sum.value += term;
      sum.magnitude += std::abs(term);
      sum.slack += flush_error(weight.at(r, k), smallest_normal) * std::abs(factor);
    }
    return sum;
  });
}

Expected product_of_blocks(const Table& weight, const Table& x, const Norm& norm, const Table& magnitudes) {
  const QuantisedX quantised(x, norm);
  const bool are_differences = !magnitudes.values.empty();
  const double products_error = are_differences ? 4 : 2;
  const double relative_error = (static_cast<double>(quantised.scales.columns) + products_error + 3.5) * kUlp;
  return apply_norm(x, weight.rows, norm, relative_error, [&](size_t t, size_t r) {
    Sum sum;
    for (size_t unit = 0; unit < quantised.scales.columns; ++unit) {
      double products = 0;
      double doubts = 0;
      double parts = 0;
      for (size_t k = unit * kUnit; k < std::min(weight.columns, (unit + 1) * kUnit); ++k) {
        products += weight.at(r, k) * quantised.integers.at(t, k);
        doubts += std::abs(weight.at(r, k)) * quantised.doubtful.at(t, k);
        if (are_differences) parts += magnitudes.at(r, k) * std::abs(quantised.integers.at(t, k));
      }
      const double scale = quantised.scales.at(t, unit);
      sum.value += scale * products;
      sum.magnitude += scale * ((are_differences ? parts : std::abs(products)) + doubts);
      sum.slack += scale * doubts;
    }
    return sum;
  });
}

Expected biased(Expected y, std::span<const double> bias) {
  for (size_t t = 0; t < y.value.rows && !bias.empty(); ++t) {
    for (size_t r = 0; r < y.value.columns; ++r) {
      const double value = y.value.at(t, r) + bias[r];
      y.set(t, r, value, y.tolerance.at(t, r) + kUlp * (std::abs(value) + y.tolerance.at(t, r)));
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

namespace {
/// By how much operands may be off beyond arithmetic in f32.
struct AttendErrors {
  double cache = 0;                       // of a key or value, as a share of it
  std::function<double(double)> weights;  // of a weight, the largest being 1; empty: not at all
};

Expected attend(const Expected& queries, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal,
                const AttendErrors& errors);
}  // namespace

Expected attention(const Table& qkv, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                   const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal) {
  Expected exact(qkv.rows, qkv.columns);
  exact.value = qkv;
  return attention(exact, shape, tokens, table, cache, window, smallest_normal);
}

Expected attention(const Expected& queries, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                   const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal) {
  return attend(queries, shape, tokens, table, cache, window, smallest_normal, {});
}

Expected attention_in_halves(const Table& queries, const kernels::AttentionShape& shape,
                             std::span<const BatchToken> tokens, const PageTable& table, const PagedCache& cache,
                             uint32_t window, bool cache_is_rounded) {
  Expected rounded(queries.rows, queries.columns);
  rounded.value = queries;
  for (size_t i = 0; i < queries.values.size(); ++i) {
    rounded.tolerance.values[i] = kHalfUlp * std::abs(queries.values[i]) + kSmallestHalf / shape.scale;
  }
  const AttendErrors errors{.cache = cache_is_rounded ? kHalfUlp : 0, .weights = [](double weight) {
                              return kHalfUlp * weight + std::min(weight, kSmallestHalf);
                            }};
  return to_half(attend(rounded, shape, tokens, table, cache, window, kSmallestHalf, errors));
}

namespace {

Expected attend(const Expected& queries, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal,
                const AttendErrors& errors) {
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
          const double q = queries.value.at(t, size_t{head} * dim + i);
          const double k = cache.keys[places.back() + i];
          score += q * k;
          magnitude += std::abs(q * k);
          lost += std::abs(q) * (flush_error(k, smallest_normal) + errors.cache * std::abs(k));
          lost += queries.tolerance.at(t, size_t{head} * dim + i) * std::abs(k);
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
          off += w * ((soft.errors[j] + errors.cache) * std::abs(v) + flush_error(v, smallest_normal));
          sum_off += w * soft.errors[j];
          if (errors.weights) off += errors.weights(soft.weights[j]) / soft.sum * std::abs(v);
        }
        const double arithmetic = (static_cast<double>(places.size()) + 4) * 2 * kUlp * magnitude;
        y.set(t, size_t{head} * dim + i, sum, off + std::abs(sum) * sum_off + arithmetic + kTiny);
      }
    }
  }
  return y;
}

}  // namespace

Expected turned_rows(const Expected& rows, const kernels::AttentionShape& shape, const Table& cos_sin) {
  const uint32_t dim = shape.head_dim;
  Expected y = rows;
  for (size_t t = 0; t < rows.value.rows; ++t) {
    Table angles(1, dim);
    for (uint32_t i = 0; i < dim; ++i) angles.at(0, i) = cos_sin.at(t, i);
    for (uint32_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      const size_t first = size_t{head} * dim;
      Table row(1, dim);
      for (uint32_t i = 0; i < dim; ++i) row.at(0, i) = rows.value.at(t, first + i);
      const Expected turned = rope(row, angles, 1, dim);
      for (uint32_t i = 0; i < dim; ++i) {
        const size_t pair = i % (dim / 2);
        const double carried = std::abs(angles.at(0, 2 * pair)) * rows.tolerance.at(t, first + i) +
                               std::abs(angles.at(0, 2 * pair + 1)) * rows.tolerance.at(t, first + (i + dim / 2) % dim);
        y.set(t, first + i, turned.value.at(0, i), turned.tolerance.at(0, i) + carried * (1 + 2 * kUlp));
      }
    }
  }
  return y;
}

Expected step_rows(const Table& qkv, const kernels::AttentionShape& shape, const Table& norms, double epsilon,
                   const Table& cos_sin) {
  const uint32_t dim = shape.head_dim;
  Expected normed(qkv.rows, qkv.columns);
  normed.value = qkv;
  if (norms.rows == 0) return turned_rows(normed, shape, cos_sin);
  for (size_t t = 0; t < qkv.rows; ++t) {
    for (uint32_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      Table row(1, dim);
      for (uint32_t i = 0; i < dim; ++i) row.at(0, i) = qkv.at(t, size_t{head} * dim + i);
      const auto weight = std::span(norms.values).subspan(head < shape.heads ? 0 : dim, dim);
      const Expected right = rms_norm(row, weight, epsilon);
      for (uint32_t i = 0; i < dim; ++i) {
        normed.set(t, size_t{head} * dim + i, right.value.at(0, i), right.tolerance.at(0, i));
      }
    }
  }
  return turned_rows(normed, shape, cos_sin);
}

Expected swiglu(const Table& gate_up) {
  Expected exact(gate_up.rows, gate_up.columns);
  exact.value = gate_up;
  return swiglu(exact);
}

Expected swiglu(const Expected& gate_up) {
  const size_t size = gate_up.value.columns / 2;
  Expected y(gate_up.value.rows, size);
  for (size_t t = 0; t < y.value.rows; ++t) {
    for (size_t i = 0; i < size; ++i) {
      const double gate = gate_up.value.at(t, 2 * i);
      const double up = gate_up.value.at(t, 2 * i + 1);
      const double gate_error = gate_up.tolerance.at(t, 2 * i);
      const double up_error = gate_up.tolerance.at(t, 2 * i + 1);
      const double silu = gate / (1 + std::exp(-gate));
      const double value = silu * up;
      const double share = 1 / (1 + std::exp(gate));  // of exp(-gate) in 1 + exp(-gate)
      const double arithmetic = (share * (3 + 2 * std::abs(gate)) + 4.5) * kUlp;
      double tolerance = arithmetic * std::abs(value) + kTiny;
      tolerance += 1.1 * gate_error * (std::abs(up) + up_error) + std::abs(silu) * up_error;
      if (gate - gate_error < -80) tolerance += std::abs(value);
      y.set(t, i, gate < -80 ? 0 : value, tolerance);
    }
  }
  return y;
}

Expected residual_add(const Table& x, const Table& y) {
  Expected exact(x.rows, x.columns);
  exact.value = x;
  return residual_add(exact, y);
}

Expected residual_add(const Expected& x, const Table& y) {
  Expected sum(y.rows, y.columns);
  for (size_t r = 0; r < y.rows; ++r) {
    for (size_t i = 0; i < y.columns; ++i) {
      const double value = y.at(r, i) + x.value.at(r, i);
      const double error = x.tolerance.at(r, i);
      sum.set(r, i, value, error + kUlp * (std::abs(value) + error) + kTiny);
    }
  }
  return sum;
}

Expected sum_rows(const Table& x, const Table* held) {
  Expected y(1, x.columns);
  for (size_t i = 0; i < x.columns; ++i) {
    double sum = held == nullptr ? 0 : held->at(0, i);
    double magnitude = std::abs(sum);
    for (size_t t = 0; t < x.rows; ++t) {
      sum += x.at(t, i);
      magnitude += std::abs(x.at(t, i));
    }
    y.set(0, i, sum, static_cast<double>(x.rows) * kUlp * magnitude + kTiny);
  }
  return y;
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
