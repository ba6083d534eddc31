// Module: the scales of Q4_K and Q5_K: of 8 groups of 32 columns that make up a super-block.
//
// Gives: group_integers, scale and offset of group 0 to 7 in 6 bits each; block_factors, what they are multiples of.
// Bindings: 2 the plane of scales, 16 bytes a super-block: the factors of scales and of offsets (f16); a byte for each
// group, its scale in the low six bits and the high two bits of its offset above; four bits for each group, the low
// ones of its offset. Layout: quant/super_blocks.h.
// Numerics: exact; a device may flush factors that are subnormal halves to zero.

@group(0) @binding(2) var<storage, read> scales: array<vec4u>;

fn group_integers(header: vec4u, group: u32) -> vec2u {
  let byte = select(header.y, header.z, group >= 4u) >> (group % 4u * 8u);
  let low = header.w >> (group * 4u);
  return vec2u(byte & 63u, (low & 15u) | ((byte >> 2u) & 48u));
}

fn block_factors(header: vec4u) -> vec2f { return unpack2x16float(header.x); }

/// Scale and offset of a group: value = integer * scale - offset.
fn group_scale(header: vec4u, group: u32) -> vec2f {
  return block_factors(header) * vec2f(group_integers(header, group));
}
