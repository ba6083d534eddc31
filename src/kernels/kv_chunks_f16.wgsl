// Module: keys and values cached as f16, eight neighbouring elements of a head to a chunk of 16 bytes.
//
// Gives: KvChunk, how eight elements are stored; pack_chunk and chunk_low, chunk_high, between it and two vec4f. The
// same bytes as in kv_f16.wgsl. settled: the chunk itself, given a 0 that compilers do not know; without it some undo
// the rounding where a chunk is packed and unpacked.
// Numerics: rounded to f16 when written; the device chooses the direction.

alias KvChunk = vec4u;

fn pack_chunk(low: vec4f, high: vec4f) -> KvChunk {
  return vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
fn chunk_low(chunk: KvChunk) -> vec4f { return vec4f(unpack2x16float(chunk.x), unpack2x16float(chunk.y)); }
fn chunk_high(chunk: KvChunk) -> vec4f { return vec4f(unpack2x16float(chunk.z), unpack2x16float(chunk.w)); }
fn settled(chunk: KvChunk, zero: u32) -> KvChunk { return chunk | vec4u(zero); }
