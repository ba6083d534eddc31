// Module: keys and values cached as f16, two to a u32, so that no device feature is needed.
// A pair is two neighbouring elements of a head. Rounds to f16 when written.

alias KvPair = u32;

fn pack_pair(value: vec2f) -> KvPair { return pack2x16float(value); }
fn unpack_pair(pair: KvPair) -> vec2f { return unpack2x16float(pair); }
