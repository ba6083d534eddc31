// Module: keys and values cached as f16, eight neighbouring elements of a head to a chunk of 16 bytes.
//
// Gives: KvChunk, how eight elements are stored; ROW_CHUNKS, of a position's head of CHUNKS; HAS_SCALE, whether one of
// them is a scale; pack_chunk and chunk_low, chunk_high, between a chunk and two vec4f; scale_chunk and scale_of. The
// same bytes as in kv_f16.wgsl. settled: the chunk itself, given a 0 that compilers do not know; without it some undo
// the rounding where a chunk is packed and unpacked.
// Numerics: rounded to f16 when written; the device chooses the direction.

alias KvChunk = vec4u;

const HAS_SCALE = false;
const ROW_CHUNKS = CHUNKS;

fn pack_chunk(low: vec4f, high: vec4f, scale: f32) -> KvChunk {
  return vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
fn chunk_low(chunk: KvChunk) -> vec4f { return vec4f(unpack2x16float(chunk.x), unpack2x16float(chunk.y)); }
fn chunk_high(chunk: KvChunk) -> vec4f { return vec4f(unpack2x16float(chunk.z), unpack2x16float(chunk.w)); }
fn scale_chunk(scale: f32) -> KvChunk { return KvChunk(); }
fn scale_of(chunk: KvChunk) -> f32 { return 1.0; }
fn settled(chunk: KvChunk, zero: u32) -> KvChunk { return chunk | vec4u(zero); }
