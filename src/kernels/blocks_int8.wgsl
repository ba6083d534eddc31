// Module: a unit of 32 columns quantised to int8, as matvec_blocks.wgsl multiplies it.
//
// Gives: Unit (two vec4u), load_unit, which reads unit i of the shard, and unit_product, its product with 32 columns
// of x. Needs block_scales.
// Bindings: 1 the plane of values, in units. Layout: weights_int8.wgsl.
// Numerics: sums of products of integers, exact in i32 and, below 2^24, in f32.

struct Unit { low: vec4u, high: vec4u }

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

fn load_unit(unit: u32) -> Unit { return Unit(weights[2u * unit], weights[2u * unit + 1u]); }

/// scale * sum_k w[k] * x[k]; x as stored by matvec_blocks.wgsl: integers, then their scale and
/// their sum.
fn unit_product(w: Unit, scale: Scale, unit: u32, x: array<vec2u, 4>, x_scale: vec2f) -> f32 {
  var sum = dot4I8Packed(w.low.x, x[0].x) + dot4I8Packed(w.low.y, x[0].y);
  sum += dot4I8Packed(w.low.z, x[1].x) + dot4I8Packed(w.low.w, x[1].y);
  sum += dot4I8Packed(w.high.x, x[2].x) + dot4I8Packed(w.high.y, x[2].y);
  sum += dot4I8Packed(w.high.z, x[3].x) + dot4I8Packed(w.high.w, x[3].y);
  return scale * (x_scale.x * f32(sum));
}
