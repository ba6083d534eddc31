// Module: keys and values cached as int8, eight neighbouring elements of a head to a chunk of 8 bytes, and behind a
// head's chunks one with their scale in f32 and four bytes that are not used.
//
// Gives: as kv_chunks_f16.wgsl. The same bytes as in kv_int8.wgsl. chunk_low and chunk_high give integers, which are
// to be multiplied by the scale.
// Numerics: an element is stored as round(element / scale), off by scale / 2 at most where |element| <= 127 scale.

alias KvChunk = vec2u;

const HAS_SCALE = true;
const ROW_CHUNKS = CHUNKS + 1u;

fn pack_chunk(low: vec4f, high: vec4f, scale: f32) -> KvChunk {
  let inverse = select(0.0, 1.0 / scale, scale > 0.0);
  return vec2u(pack4xI8(vec4i(round(low * inverse))), pack4xI8(vec4i(round(high * inverse))));
}
fn chunk_low(chunk: KvChunk) -> vec4f { return vec4f(unpack4xI8(chunk.x)); }
fn chunk_high(chunk: KvChunk) -> vec4f { return vec4f(unpack4xI8(chunk.y)); }
fn scale_chunk(scale: f32) -> KvChunk { return vec2u(bitcast<u32>(scale), 0u); }
fn scale_of(chunk: KvChunk) -> f32 { return bitcast<f32>(chunk.x); }
fn settled(chunk: KvChunk, zero: u32) -> KvChunk { return chunk | vec2u(zero); }
