// Module: chunks of 8 columns of x for products in floats (matvec.wgsl, matvec_kept.wgsl, matvec_rows.wgsl).
//
// Gives: load_x, which reads a chunk of a token with the norm's weights and adds the squares before these to `squares`;
// masked_chunk and is_partial_chunk. Needs a weight module and matvec_output.
// Numerics: f32. Columns past the last are zeroed in x and norm, so padding may hold NaN.

fn masked_chunk(values: Eight, column: u32) -> Eight {
  return Eight(masked(values.low, column), masked(values.high, column + 4u));
}

/// Of the rows' last chunk, where they end in the middle of one; known to compilers where they do not.
fn is_partial_chunk(chunk: u32) -> bool { return COLUMNS % 8u != 0u && chunk * 8u + 8u > COLUMNS; }

fn load_x(token: u32, chunk: u32, squares: ptr<function, f32>) -> Eight {
  let at = min(token, params.tokens - 1u) * X_STRIDE + 2u * chunk;
  var values = Eight(x[at], x[at + 1u]);
  let is_partial = is_partial_chunk(chunk);
  if (is_partial) { values = masked_chunk(values, chunk * 8u); }
  if (HAS_NORM) {
    *squares += dot(values.low, values.low) + dot(values.high, values.high);
    values = Eight(values.low * norm_at(2u * chunk), values.high * norm_at(2u * chunk + 1u));
    if (is_partial) { values = masked_chunk(values, chunk * 8u); }
  }
  return values;
}
