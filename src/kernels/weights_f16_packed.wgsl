// Module: weights stored as f16, on a device without shader-f16; two to a u32, 8 to a chunk.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f; Raw, load_raw and decoded,
// the same in two steps.
// Bindings: 1 the rows of one shard, chunk after chunk, read 16 bytes at a time.
// Numerics: decoding is exact for normal numbers; a device may flush subnormal halves (below 6.1e-5) to zero.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

alias Raw = vec4u;

fn load_raw(chunk: u32) -> Raw { return weights[chunk]; }

fn decoded(bits: Raw) -> Eight {
  return Eight(vec4f(unpack2x16float(bits.x), unpack2x16float(bits.y)),
               vec4f(unpack2x16float(bits.z), unpack2x16float(bits.w)));
}

fn load_chunk(chunk: u32) -> Eight { return decoded(load_raw(chunk)); }

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 7u) / 8u; }
