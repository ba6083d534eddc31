// Module: the parameters of products on matrix units, and their ends (matmul_matrix.wgsl, matmul_join.wgsl).
//
// Gives: Params; put_row, which finishes a row of a token. Needs the modules product_output and
// element, and the bindings bias and y of the shader.
// Numerics: f32 up to the output.

struct Params {
  rows: u32,
  tokens: u32,
  y_stride: u32,   // in elements
  first_row: u32,
}

fn biased(row: u32, value: f32) -> f32 {
  if (HAS_BIAS) { return value + bias[params.first_row + row]; }
  return value;
}

/// Puts the sum of row `row` of the shard; `next` is the sum of the row after it, for OUTPUT_SWIGLU.
fn put_row(token: u32, row: u32, sum: f32, next: f32) {
  let value = biased(row, sum);
  let to = token * params.y_stride + (params.first_row + row) / WIDTH;
  if (OUTPUT == OUTPUT_STORE) {
    y[to] = element(value);
  } else if (OUTPUT == OUTPUT_ADD) {
    y[to] += element(value);
  } else {
    y[to] = element(silu(value) * biased(row + 1u, next));
  }
}
