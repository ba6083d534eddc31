// Module: weights stored as f16, on a device with shader-f16; a chunk is 8 elements, 16 bytes.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the rows of one shard, chunk after chunk, read 16 bytes at a time.
// Numerics: decoding is exact for normal numbers; a device may flush subnormal halves (below 6.1e-5) to zero.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

fn load_chunk(chunk: u32) -> Eight {
  let bits = weights[chunk];
  return Eight(vec4f(bitcast<vec4<f16>>(bits.xy)), vec4f(bitcast<vec4<f16>>(bits.zw)));
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 7u) / 8u; }
