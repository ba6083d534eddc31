// Module: the parameters and bindings that the matrix-vector kernels share (matvec.wgsl, matvec_kept.wgsl,
// matvec_rows.wgsl, matvec_blocks.wgsl, matvec_few.wgsl). Needs a bias module and what becomes of a finished sum: matvec_put or
// matvec_put_rope.
//
// Gives: Params and the binding 6, row_count, OUTPUTS, biased.
// Shapes: W [rows, columns] (one row shard), x [tokens, columns], norm [columns], bias [all rows]; y as the put module
// says.
// Numerics: f32.

// Shapes that are known when the pipeline is built are constants: COLUMNS, and ROW_COUNT where it is not 0. So the
// weights' addresses need not wait for the parameters.

struct Params {
  rows: u32,
  tokens: u32,
  y_stride: u32,   // in elements
  first_row: u32,
  epsilon: f32,    // of the norm
  pages_per_slot: u32,  // of matvec_put_rope.wgsl
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(6) var<storage, read_write> y: array<f32>;

const OUTPUTS = ROWS * TOKENS;  // sums that an invocation has

fn row_count() -> u32 { return select(ROW_COUNT, params.rows, ROW_COUNT == 0u); }

fn biased(row: u32, value: f32) -> f32 {
  if (HAS_BIAS) { return value + bias_at(params.first_row + row); }
  return value;
}
