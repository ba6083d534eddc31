// Module: weights in super-blocks of Q5_K: 256 columns in 8 groups of 32; a chunk is 8 elements.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the plane of integers, 160 bytes a super-block: the low four bits of each group as in Q4_K, 16 bytes; then
// the fifth bits of each group, 4 bytes, that of column 4 i + b in bit 8 b + i; 2 the plane of scales (super_scales).
// Layout: quant/super_blocks.h.
// Numerics: value = integer * scale - offset; both products are exact in f32, so that only the difference is rounded.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;

fn load_chunk(chunk: u32) -> Eight {
  let block = chunk / 32u * 20u;  // in vec2u
  let group = chunk / 4u % 8u;
  let quarter = chunk % 4u;       // of the group
  let low = (weights[block + group * 2u + chunk % 2u] >> vec2u(quarter / 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let fifth = weights[block + 16u + group / 2u][group % 2u] >> (2u * quarter);
  let bits = low | ((vec2u(fifth, fifth >> 1u) & vec2u(0x01010101u)) << vec2u(4u));
  let scale = group_scale(scales[chunk / 32u], group);
  return Eight(scale.x * vec4f(unpack4xU8(bits.x)) - scale.y, scale.x * vec4f(unpack4xU8(bits.y)) - scale.y);
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return columns / 8u; }
