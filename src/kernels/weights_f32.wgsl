// Module: weights stored as f32; a chunk is 8 consecutive elements, 32 bytes.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f; Raw, load_raw and decoded,
// the same in two steps.
// Bindings: 1 the rows of one shard, chunk after chunk, read 32 bytes at a time.
// Numerics: decoding is exact.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec4f>;

alias Raw = Eight;

fn load_raw(chunk: u32) -> Raw { return Eight(weights[2u * chunk], weights[2u * chunk + 1u]); }
fn decoded(raw: Raw) -> Eight { return raw; }
fn load_chunk(chunk: u32) -> Eight { return load_raw(chunk); }

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return (columns + 7u) / 8u; }
