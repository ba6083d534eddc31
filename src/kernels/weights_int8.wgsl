// Module: weights quantised to int8 in blocks of BLOCK columns; a chunk is 8 elements, 8 bytes.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the plane of values, chunk after chunk, one byte each, two's complement; 2 the plane of scales, one f16 a
// block, two to a u32. Rows are padded to two blocks. Layout: quant/blocks.h.
// Numerics: value = integer * scale, exact in f32; a device may flush scales that are subnormal halves to zero.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

fn block_scale(block: u32) -> f32 { return unpack2x16float(scales[block / 2u])[block % 2u]; }

fn load_chunk(chunk: u32) -> Eight {
  let bits = weights[chunk];
  let scale = block_scale(chunk / (BLOCK / 8u));
  return Eight(scale * vec4f(unpack4xI8(bits.x)), scale * vec4f(unpack4xI8(bits.y)));
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 2u * BLOCK - 1u) / (2u * BLOCK) * (BLOCK / 4u); }
