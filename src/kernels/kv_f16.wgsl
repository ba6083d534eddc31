// Module: keys and values cached as f16, two to a u32, so that no device feature is needed.
// A pair is two neighbouring elements of a head.
//
// Gives: KvPair, pack_pair, unpack_pair.
// Numerics: rounds to f16 when written (either neighbour, as WGSL leaves it open); magnitudes above 65504 have
// no f16. Reading is exact for normal numbers; a device may flush subnormal halves (below 6.1e-5) to zero.

alias KvPair = u32;

fn pack_pair(value: vec2f) -> KvPair { return pack2x16float(value); }
fn unpack_pair(pair: KvPair) -> vec2f { return unpack2x16float(pair); }
