// Module: a unit of 32 columns of Q5_K, a group, as matvec_blocks.wgsl multiplies it.
//
// Gives: ROW_UNITS, units from one row to the next; Unit and load_unit, the integers of unit i of the shard; Scale and
// load_scale, what its scale is computed of; unit_product, its product with 32 columns of x.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q5_k.wgsl.
// Numerics: sums of products of integers and their multiples by the group's integers, exact in i32 and, below 2^24, in
// f32; two products and a difference in f32.

struct Unit {
  low: vec4u,
  fifth: u32,
}
alias Scale = vec4u;

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const ROW_UNITS = COLUMNS / 32u;

fn load_unit(unit: u32) -> Unit {
  let block = unit / 8u * 10u;  // in vec4u
  let group = unit % 8u;
  return Unit(weights[block + group], weights[block + 8u + group / 4u][group % 4u]);
}

fn load_scale(unit: u32) -> Scale { return scales[unit / 8u]; }

/// The fifth bits of the columns 4 i … 4 i + 3, where they belong.
fn fifth_bits(fifth: u32, i: u32) -> u32 { return ((fifth >> i) & 0x01010101u) << 4u; }

/// sum_k w[k] * x[k] for unit number `unit` of its row; x as stored by matvec_blocks.wgsl: integers, then their scale
/// and their sum.
fn unit_product(w: Unit, scale: Scale, unit: u32, x: array<vec2u, 4>, x_scale: vec2f) -> f32 {
  let low = w.low & vec4u(0x0f0f0f0fu);
  let high = (w.low >> vec4u(4u)) & vec4u(0x0f0f0f0fu);
  var sum = dot4I8Packed(low.x | fifth_bits(w.fifth, 0u), x[0].x);
  sum += dot4I8Packed(low.y | fifth_bits(w.fifth, 1u), x[0].y);
  sum += dot4I8Packed(low.z | fifth_bits(w.fifth, 2u), x[1].x);
  sum += dot4I8Packed(low.w | fifth_bits(w.fifth, 3u), x[1].y);
  sum += dot4I8Packed(high.x | fifth_bits(w.fifth, 4u), x[2].x);
  sum += dot4I8Packed(high.y | fifth_bits(w.fifth, 5u), x[2].y);
  sum += dot4I8Packed(high.z | fifth_bits(w.fifth, 6u), x[3].x);
  sum += dot4I8Packed(high.w | fifth_bits(w.fifth, 7u), x[3].y);
  let integers = group_integers(scale, unit % 8u);
  let factors = block_factors(scale);
  return x_scale.x * (factors.x * f32(i32(integers.x) * sum) - factors.y * (f32(integers.y) * x_scale.y));
}
