// Module: keys and values cached as f32. A pair is two neighbouring elements of a head.
//
// Gives: KvPair, pack_pair, unpack_pair.
// Numerics: exact.

alias KvPair = vec2f;

fn pack_pair(value: vec2f) -> KvPair { return value; }
fn unpack_pair(pair: KvPair) -> vec2f { return pair; }
