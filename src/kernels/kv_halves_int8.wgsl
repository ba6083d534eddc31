// Module: keys and values cached as int8, for shaders that pass them on as f16, eight elements at a time. The layout is
// that of kv_chunks_int8.wgsl.
//
// Gives: as kv_halves_f16.wgsl. key_chunk and value_chunk give eight integers and their scale.
// Numerics: integer times scale in f32, rounded to f16 (either neighbour, as WGSL leaves it open).

alias KvChunk = vec2u;

const ROW_CHUNKS = CHUNKS + 1u;

fn key_chunk(row: u32, chunk: u32) -> vec4u { return vec4u(keys[row + chunk], keys[row + CHUNKS].x, 0u); }
fn value_chunk(row: u32, chunk: u32) -> vec4u { return vec4u(values[row + chunk], values[row + CHUNKS].x, 0u); }
fn halves(chunk: vec4u) -> vec4u {
  let scale = bitcast<f32>(chunk.z);
  let low = scale * vec4f(unpack4xI8(chunk.x));
  let high = scale * vec4f(unpack4xI8(chunk.y));
  return vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
