// Module: a unit of 32 columns of Q4_K, a group, as matvec_blocks.wgsl multiplies it.
//
// Gives: ROW_UNITS, units from one row to the next; Unit and load_unit, the integers of unit i of the shard; Scale and
// load_scale, what its scale is computed of; unit_product, its product with 32 columns of x.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q4_k.wgsl.
// Numerics: sums of products of integers and their multiples by the group's integers, exact in i32 and, below 2^24, in
// f32; two products and a difference in f32.

alias Unit = vec4u;
alias Scale = vec4u;

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const ROW_UNITS = COLUMNS / 32u;

fn load_unit(unit: u32) -> Unit { return weights[unit]; }

fn load_scale(unit: u32) -> Scale { return scales[unit / 8u]; }

/// sum_k w[k] * x[k] for unit number `unit` of its row; x as stored by matvec_blocks.wgsl: integers, then their scale
/// and their sum.
fn unit_product(w: Unit, scale: Scale, unit: u32, x: array<vec2u, 4>, x_scale: vec2f) -> f32 {
  let integers = group_integers(scale, unit % 8u);
  let factors = block_factors(scale);
  return x_scale.x * (factors.x * f32(i32(integers.x) * nibble_dot(w, x)) - factors.y * (f32(integers.y) * x_scale.y));
}
