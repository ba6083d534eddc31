// Module: keys and values cached as f32, eight neighbouring elements of a head to a chunk of 32 bytes.
//
// Gives: KvChunk, how eight elements are stored; pack_chunk and chunk_low, chunk_high, between it and two vec4f. The
// same bytes as in kv_f32.wgsl. settled: as in kv_chunks_f16.wgsl.
// Numerics: exact.

struct KvChunk { low: vec4f, high: vec4f }

fn pack_chunk(low: vec4f, high: vec4f) -> KvChunk { return KvChunk(low, high); }
fn chunk_low(chunk: KvChunk) -> vec4f { return chunk.low; }
fn chunk_high(chunk: KvChunk) -> vec4f { return chunk.high; }
fn settled(chunk: KvChunk, zero: u32) -> KvChunk { return chunk; }
