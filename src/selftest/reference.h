// What each kernel should compute: plain loops in f64, written from the formulas and not from the shaders.
//
// Every function returns, beside each value, the largest error that a correct kernel can make. The bounds
// follow from the accuracy that WGSL demands of f32 operations ("Floating point accuracy", WGSL 15.7.4),
// where 1 ulp is at most 2^-23 of a result:
//   + - *: correctly rounded, but in either direction: 1 ulp;  division: 2.5 ulp;  sqrt: 2 ulp of an
//   inverse square root and a division: 4.5 ulp;  exp(x): 3 + 2 |x| ulp.
// A sum of n terms in any order, with f32 partial sums, is off by at most n ulp of the sum of magnitudes
// (Higham 2002, "Accuracy and stability of numerical algorithms", 4.2).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention.h"

namespace cria::selftest {

/// Values [rows, columns] in f64, row-major, without padding.
struct Table {
  Table() = default;
  Table(size_t row_count, size_t column_count)
      : rows(row_count), columns(column_count), values(row_count * column_count) {}
  [[nodiscard]] double& at(size_t row, size_t column) { return values[row * columns + column]; }
  [[nodiscard]] double at(size_t row, size_t column) const { return values[row * columns + column]; }

  size_t rows = 0;
  size_t columns = 0;
  std::vector<double> values;
};

/// The right values, and how far from each a kernel may be (0: no bit may differ).
struct Expected {
  Expected(size_t rows, size_t columns) : value(rows, columns), tolerance(rows, columns) {}
  void set(size_t row, size_t column, double right, double allowed) {
    value.at(row, column) = right;
    tolerance.at(row, column) = allowed;
  }
  Table value;
  Table tolerance;
};

/// A token of a batch: its position in its sequence, and the slot of that sequence in the page table.
struct BatchToken {
  uint32_t position = 0;
  uint32_t slot = 0;
};

/// u32 [slots, pages_per_slot]: which page holds the positions p * kPageSize … of a slot.
struct PageTable {
  uint32_t pages_per_slot = 0;
  std::vector<uint32_t> pages;
  [[nodiscard]] uint32_t page(uint32_t slot, uint32_t position) const {
    return pages[size_t{slot} * pages_per_slot + position / kernels::kPageSize];
  }
};

/// One layer's keys and values, [pages, kv_heads, kPageSize, head_dim] each; NaN where nothing was written.
struct PagedCache {
  PagedCache(uint32_t pages, uint32_t heads, uint32_t dim);
  /// The first element of a position's head in `keys` and `values`.
  [[nodiscard]] size_t at(uint32_t page, uint32_t head, uint32_t position) const;

  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  std::vector<double> keys;
  std::vector<double> values;
};

namespace reference {

/// y[t, :] = table[tokens[t], :] (Vaswani et al. 2017, input embedding, without the factor sqrt(d)).
/// Tolerance: none; but values below `smallest_normal` of the storage type may be read as 0, as WGSL allows.
Expected embedding(const Table& table, std::span<const uint32_t> tokens, double smallest_normal);

/// y[r, i] = x[r, i] / sqrt(mean_j x[r, j]^2 + epsilon) * weight[i] (Zhang & Sennrich 2019).
/// Tolerance: the squares' sum of n positive terms is off by n + 1 ulp, which the root halves; mean, root and
/// inverse add 2.5 / 2 + 4.5 + 2.5 ulp, epsilon's sum 1 / 2 and the products 2.
Expected rms_norm(const Table& x, std::span<const double> weight, double epsilon);

/// y[t, r] = sum_k weight[r, k] * x[t, k] (+ bias[r]).
/// Tolerance: columns + 2 ulp of the sum of magnitudes. Weights below `smallest_normal` may be read as 0.
Expected linear(const Table& weight, const Table& x, std::span<const double> bias, double smallest_normal);

/// The same in f16, as matrix units multiply. Tolerance: of quantised weights (`weights_are_rounded`) each is rounded
/// to f16 first, 1 ulp of f16, or of the weights' `magnitudes` where they are given (make_up_super_blocks); what is
/// below the smallest normal f16, of weights or x, may be read as 0.
Expected linear_in_halves(const Table& weight, const Table& x, std::span<const double> bias, bool weights_are_rounded,
                          const Table& magnitudes = {});

/// y stored in f16, at most 65504 (element_f16.wgsl). Tolerance: 1 ulp of f16 more; below its smallest normal, all.
Expected to_half(Expected y);

/// RMSNorm of a product's x: weight [columns]; empty where there is none.
struct Norm {
  std::span<const double> weight;
  double epsilon = 0;
};

/// y[t, r] = sum_k weight[r, k] * n[t, k], where n is rms_norm(x), or x without a norm.
/// Tolerance: the norm's products add 1 ulp to those of linear(), its factor what rms_norm() says and 1 ulp.
Expected product(const Table& weight, const Table& x, const Norm& norm, double smallest_normal);

/// The same with x quantised as matvec_blocks.wgsl says: in units of 32 columns, whose largest element m has the
/// integer 127, xq = round(x * norm / xs), xs = m / 127; the norm's factor follows the sum.
/// Tolerance: integer sums are exact; their products with two scales add 2 ulp and xs 3.5 (norm's product and a
/// division), sums over units 1 ulp each of the units' magnitudes, the norm's factor as above. x * norm * (127 / m)
/// is off by 5.5 ulp (two elements' products, a division, a product): where that leaves two integers to round to,
/// either is right. With weights that are differences (`magnitudes`, see make_up_super_blocks) each of the two parts is
/// rounded, which adds 2 ulp, and their magnitudes count instead of the units'.
Expected product_of_blocks(const Table& weight, const Table& x, const Norm& norm, const Table& magnitudes = {});

/// y[t, r] + bias[r]. Tolerance: that of y and 1 ulp.
Expected biased(Expected y, std::span<const double> bias);

/// Turns pairs (i, i + head_dim / 2) of each of `heads` heads by the angle whose cosine and sine are
/// cos_sin[t, 2 i] and cos_sin[t, 2 i + 1] (Su et al. 2021, halves paired as in Hugging Face's Llama).
/// x and the result are [tokens, heads * head_dim]. Tolerance: 2 ulp of the two products' magnitudes.
Expected rope(const Table& x, const Table& cos_sin, uint32_t heads, uint32_t head_dim);

/// Stores keys and values of a batch in the cache (Kwon et al. 2023, "PagedAttention"). qkv rows hold queries,
/// keys, values. A copy: what the kernel rounds is the caller's to allow for.
void kv_write(const Table& qkv, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
              const PageTable& table, PagedCache& cache);

/// y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) v[j, h / group] over the positions j of the
/// token's sequence with position - window < j <= position (window 0: no lower bound).
/// Vaswani et al. 2017; grouped heads: Ainslie et al. 2023; sliding window: Jiang et al. 2023.
/// Tolerance: a score is off by e = head_dim + 2 ulp of its magnitudes, which multiplies its weight by exp(e);
/// the exponential of x = score - maximum adds 3 + 3 |x| ulp (once more for each of the online softmax's
/// rescalings, at most one per position); sums and division add positions + 4 ulp.
/// Keys and values below `smallest_normal` may be read as 0.
Expected attention(const Table& qkv, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                   const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal);

/// The same with queries that are off by up to their tolerance d: that adds sum d |k| to the error of a score.
Expected attention(const Expected& queries, const kernels::AttentionShape& shape, std::span<const BatchToken> tokens,
                   const PageTable& table, const PagedCache& cache, uint32_t window, double smallest_normal);

/// The same on matrix units, with y in f16: queries times scale and weights, the largest of which is at least 1, are
/// rounded to f16, and keys and values that are cached in another type (`cache_is_rounded`). Tolerance: 1 ulp of f16
/// for each; below the smallest normal f16 any may be read as 0.
Expected attention_in_halves(const Table& queries, const kernels::AttentionShape& shape,
                             std::span<const BatchToken> tokens, const PageTable& table, const PagedCache& cache,
                             uint32_t window, bool cache_is_rounded);

/// Turns the heads of queries and keys in rows of queries, keys and values as rope() says. Tolerance: the rows', turned
/// like their values, and rope's.
Expected turned_rows(const Expected& rows, const kernels::AttentionShape& shape, const Table& cos_sin);

/// What attention_step.wgsl makes of rows of queries, keys and values [tokens, qkv_size] before it attends: each head
/// of queries and keys through RMSNorm (`norms` [2, head_dim], of queries and of keys; no rows: no norm), then
/// turned as rope() says. Tolerance: the norm's, turned like its values, and rope's.
Expected step_rows(const Table& qkv, const kernels::AttentionShape& shape, const Table& norms, double epsilon,
                   const Table& cos_sin);

/// y[t, i] = silu(gate[t, i]) * up[t, i], silu(g) = g / (1 + exp(-g)); in gate_up rows gates and ups alternate
/// (Shazeer 2020). Tolerance: exp's error counts by its share of 1 + exp(-g); the sum, the division and the
/// product add 4.5 ulp. Below -80 silu may be 0, which is returned, with the formula's value as tolerance.
Expected swiglu(const Table& gate_up);

/// The same where the gates and ups are off by up to a tolerance. Since |silu'| < 1.1, a gate's error d moves the
/// result by less than 1.1 d |up|; where the gate less its error is below -80, silu may be 0.
Expected swiglu(const Expected& gate_up);

/// y + x (He et al. 2015). Tolerance: 1 ulp.
Expected residual_add(const Table& x, const Table& y);
/// The same where x is off by up to its tolerance.
Expected residual_add(const Expected& x, const Table& y);

/// [1, columns]: the sum of x's rows, and of `held` [1, columns] where it is given. Tolerance: n ulp of the sum of
/// magnitudes.
Expected sum_rows(const Table& x, const Table* held);

/// y[r, :] = x[rows[r], :]. Tolerance: none.
Expected gather_rows(const Table& x, std::span<const uint32_t> rows);

}  // namespace reference
}  // namespace cria::selftest
