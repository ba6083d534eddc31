// Module: weights quantised to 4 bits in blocks of BLOCK columns; a chunk is 8 elements.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the plane of values: 32 columns in 16 bytes, byte j holding column j in its low and column j + 16 in its
// high half; 2 the plane of scales, one f16 a block, two to a u32. Rows are padded to two blocks. Layout:
// quant/blocks.h.
// Numerics: value = (integer - 8) * scale, exact in f32; a device may flush scales that are subnormal halves to zero.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

fn block_scale(block: u32) -> f32 { return unpack2x16float(scales[block / 2u])[block % 2u]; }

fn load_chunk(chunk: u32) -> Eight {
  // The 32 columns are four chunks: two in the low halves of 16 bytes, two in the high ones.
  let bits = (weights[chunk / 4u * 2u + chunk % 2u] >> vec2u(chunk / 2u % 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let scale = block_scale(chunk / (BLOCK / 8u));
  return Eight(scale * (vec4f(unpack4xU8(bits.x)) - 8.0), scale * (vec4f(unpack4xU8(bits.y)) - 8.0));
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 2u * BLOCK - 1u) / (2u * BLOCK) * (BLOCK / 4u); }
