// Module: what products on matrix units become (matmul_matrix.wgsl, matmul_join.wgsl).
//
// Gives: the values of the constant OUTPUT, and silu.
// Numerics: f32; gates below -80 give 0.

const OUTPUT_STORE = 0u;
const OUTPUT_ADD = 1u;
const OUTPUT_SWIGLU = 2u;

fn silu(gate: f32) -> f32 { return select(gate / (1.0 + exp(-gate)), 0.0, gate < -80.0); }
