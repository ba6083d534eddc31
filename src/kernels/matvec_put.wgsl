// Module: what the matrix-vector kernels do with a finished sum: bias, then one of three ends. Needs matvec_output and
// product_output.
//
// Gives: row_at; Prior and prior, what an end adds to, asked for before the sum is known; put.
// Shapes: y:
//   OUTPUT_STORE   y[t, r] = value                        [tokens, all rows]
//   OUTPUT_ADD     y[t, r] += value (the residual)        [tokens, all rows]
//   OUTPUT_SWIGLU  y[t, r / 2] = silu(value of row r) * value of row r + 1, for even r; gate and up rows
//                  alternate                              [tokens, all rows / 2]
// Numerics: f32; gates below -80 give 0.
// Source: He et al. 2015 (residual), Shazeer 2020 (SwiGLU).

alias Prior = f32;

const HAS_PRIOR = OUTPUT == OUTPUT_ADD;

/// The row of the shard that is made in place `place`.
fn row_at(place: u32) -> u32 { return place; }

/// Past the last row, of the last.
fn prior(token: u32, row: u32) -> Prior {
  return y[min(token, params.tokens - 1u) * params.y_stride + params.first_row + min(row, row_count() - 1u)];
}

/// Finishes row `row` of the shard; `next` is the value of the row after it, for OUTPUT_SWIGLU, and `before` what
/// `prior` gave.
fn put(token: u32, row: u32, value: f32, next: f32, before: Prior) {
  if (token >= params.tokens || row >= row_count()) { return; }
  let at = token * params.y_stride + params.first_row + row;
  if (OUTPUT == OUTPUT_STORE) {
    y[at] = biased(row, value);
  } else if (OUTPUT == OUTPUT_ADD) {
    y[at] = before + biased(row, value);
  } else if (row % 2u == 0u) {
    y[token * params.y_stride + (params.first_row + row) / 2u] = silu(biased(row, value)) * biased(row + 1u, next);
  }
}
