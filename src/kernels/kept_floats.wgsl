// Module: what matvec_kept.wgsl keeps of x for float weights: pieces of 8 columns.
//
// Gives: Kept and Weights, a piece of a token's x and of a row; keep and load_weights, which read them; product.
// keep adds the squares of x before the norm's weights to `squares`. Needs a weight module.
// Numerics: weights decoded to f32, f32 sums. Columns past the last are masked on both sides, so padding may hold NaN.

alias Kept = Eight;
alias Weights = Raw;

const ROW_PIECES = (COLUMNS + 7u) / 8u;

fn masked_chunk(values: Eight, column: u32) -> Eight {
  return Eight(masked(values.low, column), masked(values.high, column + 4u));
}

fn keep(token: u32, piece: u32, squares: ptr<function, f32>) -> Kept {
  let at = token * X_STRIDE + 2u * piece;
  var values = masked_chunk(Eight(x[at], x[at + 1u]), 8u * piece);
  if (HAS_NORM) {
    *squares += dot(values.low, values.low) + dot(values.high, values.high);
    let norms = masked_chunk(Eight(norm[2u * piece], norm[2u * piece + 1u]), 8u * piece);
    values = Eight(values.low * norms.low, values.high * norms.high);
  }
  return values;
}

fn load_weights(row: u32, piece: u32) -> Weights { return load_raw(row * ROW_PIECES + piece); }

fn product(kept: Kept, weights: Weights, piece: u32) -> f32 {
  var values = decoded(weights);
  if (COLUMNS % 8u != 0u) { values = masked_chunk(values, 8u * piece); }
  return dot(kept.low, values.low) + dot(kept.high, values.high);
}
