// Module: weights in super-blocks of Q4_K: 256 columns in 8 groups of 32; a chunk is 8 elements.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the plane of integers: the 32 columns of a group in 16 bytes, byte j holding column j in its low and
// column j + 16 in its high half; 2 the plane of scales (super_scales). Layout: quant/super_blocks.h.
// Numerics: value = integer * scale - offset; both products are exact in f32, so that only the difference is rounded.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;

fn load_chunk(chunk: u32) -> Eight {
  // The 32 columns are four chunks: two in the low halves of 16 bytes, two in the high ones.
  let bits = (weights[chunk / 4u * 2u + chunk % 2u] >> vec2u(chunk / 2u % 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let scale = group_scale(scales[chunk / 32u], chunk / 4u % 8u);
  return Eight(scale.x * vec4f(unpack4xU8(bits.x)) - scale.y, scale.x * vec4f(unpack4xU8(bits.y)) - scale.y);
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return columns / 8u; }
