// Module: weights stored as f32; a chunk is 8 consecutive elements, 32 bytes.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the rows of one shard, chunk after chunk, read 32 bytes at a time.
// Numerics: decoding is exact.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec4f>;

fn load_chunk(chunk: u32) -> Eight { return Eight(weights[2u * chunk], weights[2u * chunk + 1u]); }

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 7u) / 8u; }
