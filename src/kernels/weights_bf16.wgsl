// Module: weights stored as bfloat16 (the upper half of an f32); two to a u32, 8 to a chunk.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f; Raw, load_raw and decoded,
// the same in two steps.
// Bindings: 1 the rows of one shard, chunk after chunk, read 16 bytes at a time.
// Numerics: decoding is a shift, and exact.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

alias Raw = vec4u;

fn load_raw(chunk: u32) -> Raw { return weights[chunk]; }

fn decoded(bits: Raw) -> Eight {
  let even = bitcast<vec4f>(bits << vec4u(16u));
  let odd = bitcast<vec4f>(bits & vec4u(0xFFFF0000u));
  return Eight(vec4f(even.x, odd.x, even.y, odd.y), vec4f(even.z, odd.z, even.w, odd.w));
}

fn load_chunk(chunk: u32) -> Eight { return decoded(load_raw(chunk)); }

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 7u) / 8u; }
