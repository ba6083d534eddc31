// Module: keys and values cached as f32, eight neighbouring elements of a head to a chunk of 32 bytes.
//
// Gives: as kv_chunks_f16.wgsl. The same bytes as in kv_f32.wgsl.
// Numerics: exact.

struct KvChunk { low: vec4f, high: vec4f }

const HAS_SCALE = false;
const ROW_CHUNKS = CHUNKS;

fn pack_chunk(low: vec4f, high: vec4f, scale: f32) -> KvChunk { return KvChunk(low, high); }
fn chunk_low(chunk: KvChunk) -> vec4f { return chunk.low; }
fn chunk_high(chunk: KvChunk) -> vec4f { return chunk.high; }
fn scale_chunk(scale: f32) -> KvChunk { return KvChunk(); }
fn scale_of(chunk: KvChunk) -> f32 { return 1.0; }
fn settled(chunk: KvChunk, zero: u32) -> KvChunk { return chunk; }
