// Module: the bias of a product (matvec_output.wgsl).
//
// Gives: bias_at, of a row of the whole matrix.
// Bindings: 4 bias f32 [all rows].
// Numerics: f32.

@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn bias_at(row: u32) -> f32 { return bias[row]; }
