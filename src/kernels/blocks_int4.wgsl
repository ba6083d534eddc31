// Module: a unit of 32 columns quantised to 4 bits, as matvec_blocks.wgsl multiplies it.
//
// Gives: Unit (one vec4u), load_unit, which reads unit i of the shard, and unit_product, its product with 32 columns
// of x. Needs block_scales and nibble_dot.
// Bindings: 1 the plane of values, in units. Layout: weights_int4.wgsl.
// Numerics: sums of products of integers, exact in i32 and, below 2^24, in f32.

alias Unit = vec4u;

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

fn load_unit(unit: u32) -> Unit { return weights[unit]; }

/// scale * sum_k (w[k] - 8) * x[k]; x as stored by matvec_blocks.wgsl: integers, then their scale and
/// their sum.
fn unit_product(w: Unit, scale: Scale, unit: u32, x: array<vec2u, 4>, x_scale: vec2f) -> f32 {
  return scale * (x_scale.x * (f32(nibble_dot(w, x)) - 8.0 * x_scale.y));
}
