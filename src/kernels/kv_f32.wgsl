// Module: keys and values cached as f32. A pair is two neighbouring elements of a head; a row is a position's head,
// PAIRS pairs.
//
// Gives: KvPair, pack_pair; key_pair and value_pair, from the shader's buffers `keys` and `values`.
// Numerics: exact.

alias KvPair = vec2f;

fn pack_pair(value: vec2f) -> KvPair { return value; }
fn key_pair(row: u32, pair: u32) -> vec2f { return keys[row * PAIRS + pair]; }
fn value_pair(row: u32, pair: u32) -> vec2f { return values[row * PAIRS + pair]; }
