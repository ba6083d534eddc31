// Module: a unit of 32 columns of Q6_K, two groups, as matvec_blocks.wgsl multiplies it.
//
// Gives: ROW_UNITS, units from one row to the next; Unit and load_unit, the integers of unit i of the shard; Scale and
// load_scale, what its scales are computed of; unit_product, its product with 32 columns of x.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q6_k.wgsl.
// Numerics: sums of products of integers and their multiples by the groups' scales, exact in i32; rounded to f32, then a
// product.

struct Unit {
  low: vec4u,
  high: vec4u,  // of this unit and the one that shares 16 bytes with it
}
struct Scale {
  groups: u32,  // of four groups
  factor: u32,  // f16
}

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

const ROW_UNITS = COLUMNS / 32u;

fn load_unit(unit: u32) -> Unit {
  let block = unit / 8u * 12u;  // in vec4u
  return Unit(weights[block + unit % 8u], weights[block + 8u + unit % 8u / 2u]);
}

fn load_scale(unit: u32) -> Scale {
  let block = unit / 8u * 5u;
  return Scale(scales[block + unit % 8u / 2u], scales[block + 4u]);
}

/// Four times the integers of 16 columns: their six bits are at the upper end of a byte.
fn group_dot(low: vec4u, high: u32, x_low: vec2u, x_high: vec2u) -> i32 {
  let bits = (low & vec4u(0x3c3c3c3cu)) | ((vec4u(high) << vec4u(6u, 4u, 2u, 0u)) & vec4u(0xc0c0c0c0u));
  var sum = dot4I8Packed(bits.x, x_low.x) + dot4I8Packed(bits.y, x_low.y);
  sum += dot4I8Packed(bits.z, x_high.x) + dot4I8Packed(bits.w, x_high.y);
  return sum;
}

/// sum_k w[k] * x[k] for unit number `unit` of its row; x as stored by matvec_blocks.wgsl: integers, then their scale
/// and their sum.
fn unit_product(w: Unit, scale: Scale, unit: u32, x: array<vec2u, 4>, x_scale: vec2f) -> f32 {
  let high = select(w.high.xy, w.high.zw, unit % 2u == 1u);
  let groups = scale.groups >> (unit % 2u * 16u);
  let first = i32(groups << 24u) >> 24u;
  let second = i32(groups << 16u) >> 24u;
  let sum = first * group_dot(w.low << vec4u(2u), high.x, x[0], x[1]) +
            second * group_dot(w.low >> vec4u(2u), high.y, x[2], x[3]);
  return unpack2x16float(scale.factor).x * 0.25 * (x_scale.x * f32(sum));
}
