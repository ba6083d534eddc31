// Module: what the matrix-vector kernels do with a finished sum (matvec.wgsl, matvec_kept.wgsl, matvec_blocks.wgsl,
// matvec_few.wgsl): bias (bias module), then one of three ends. Also the parameters and bindings that all share.
//
// Gives: params and the binding 6, row_count, OUTPUTS, put and residual, what it adds to, asked for before.
// Shapes: W [rows, columns] (one row shard), x [tokens, columns], norm [columns], bias [all rows], y:
//   OUTPUT_STORE   y[t, r] = value                        [tokens, all rows]
//   OUTPUT_ADD     y[t, r] += value (the residual)        [tokens, all rows]
//   OUTPUT_SWIGLU  y[t, r / 2] = silu(value of row r) * value of row r + 1, for even r; gate and up rows
//                  alternate                              [tokens, all rows / 2]
// Numerics: f32; gates below -80 give 0.
// Source: He et al. 2015 (residual), Shazeer 2020 (SwiGLU).

// Shapes that are known when the pipeline is built are constants: COLUMNS, and ROW_COUNT where it is not 0. So the
// weights' addresses need not wait for the parameters.

struct Params {
  rows: u32,
  tokens: u32,
  y_stride: u32,   // in elements
  first_row: u32,
  epsilon: f32,    // of the norm
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

const OUTPUTS = ROWS * TOKENS;  // sums that an invocation has

fn row_count() -> u32 { return select(ROW_COUNT, params.rows, ROW_COUNT == 0u); }

fn biased(row: u32, value: f32) -> f32 {
  if (HAS_BIAS) { return value + bias_at(params.first_row + row); }
  return value;
}

/// What a finished row is added to, to be asked for before the sum is known. Past the last row, of the last.
fn residual(token: u32, row: u32) -> f32 {
  if (OUTPUT != OUTPUT_ADD) { return 0.0; }
  return y[min(token, params.tokens - 1u) * params.y_stride + params.first_row + min(row, row_count() - 1u)];
}

/// Finishes row `row` of the shard; `next` is the value of the row after it, for OUTPUT_SWIGLU, and `before` its
/// residual.
fn put(token: u32, row: u32, value: f32, next: f32, before: f32) {
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
