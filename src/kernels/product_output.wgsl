// Module: the ends of a product, for one token or many (matvec_output.wgsl, matmul_output.wgsl).
//
// Gives: the values of the constant OUTPUT; WIDTH, the rows that are finished together; silu.
// Numerics: f32; gates below -80 give 0.

const OUTPUT_STORE = 0u;
const OUTPUT_ADD = 1u;
const OUTPUT_SWIGLU = 2u;
const OUTPUT_ROPE_KV = 3u;

const WIDTH = select(1u, 2u, OUTPUT == OUTPUT_SWIGLU || OUTPUT == OUTPUT_ROPE_KV);

fn silu(gate: f32) -> f32 { return select(gate / (1.0 + exp(-gate)), 0.0, gate < -80.0); }
