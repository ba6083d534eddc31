// Module: keys and values cached as f16, for shaders that pass them on as f16, eight elements at a time.
//
// Gives: KvChunk, how eight elements are stored; ROW_CHUNKS, of a position's head of CHUNKS; key_chunk and value_chunk,
// from the shader's buffers `keys` and `values`, as they stand there; halves, of what these gave.
// Numerics: exact.

alias KvChunk = vec4u;

const ROW_CHUNKS = CHUNKS;

fn key_chunk(row: u32, chunk: u32) -> vec4u { return keys[row + chunk]; }
fn value_chunk(row: u32, chunk: u32) -> vec4u { return values[row + chunk]; }
fn halves(chunk: vec4u) -> vec4u { return chunk; }
