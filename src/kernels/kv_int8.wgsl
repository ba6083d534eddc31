// Module: keys and values cached as int8, for shaders that read them in pairs: two neighbouring elements of a head.
// A row is a position's head: PAIRS / 2 words of four elements, a word with their scale in f32, and one unused.
//
// Gives: KvPair, how a word is stored; key_pair and value_pair, from the shader's buffers `keys` and `values`.
// Numerics: integer times scale, in f32.

alias KvPair = u32;

const ROW_WORDS = PAIRS / 2u + 2u;

fn scaled_pair(word: u32, pair: u32, scale: u32) -> vec2f {
  let four = vec4f(unpack4xI8(word));
  return bitcast<f32>(scale) * select(four.xy, four.zw, pair % 2u == 1u);
}
fn key_pair(row: u32, pair: u32) -> vec2f {
  let start = row * ROW_WORDS;
  return scaled_pair(keys[start + pair / 2u], pair, keys[start + PAIRS / 2u]);
}
fn value_pair(row: u32, pair: u32) -> vec2f {
  let start = row * ROW_WORDS;
  return scaled_pair(values[start + pair / 2u], pair, values[start + PAIRS / 2u]);
}
