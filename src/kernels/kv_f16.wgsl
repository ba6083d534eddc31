// Module: keys and values cached as f16, two to a u32, so that no device feature is needed.
// A pair is two neighbouring elements of a head; a row is a position's head, PAIRS pairs.
//
// Gives: KvPair, pack_pair; key_pair and value_pair, from the shader's buffers `keys` and `values`.
// Numerics: rounds to f16 when written (either neighbour, as WGSL leaves it open); magnitudes above 65504 have
// no f16. Reading is exact for normal numbers; a device may flush subnormal halves (below 6.1e-5) to zero.

alias KvPair = u32;

fn pack_pair(value: vec2f) -> KvPair { return pack2x16float(value); }
fn key_pair(row: u32, pair: u32) -> vec2f { return unpack2x16float(keys[row * PAIRS + pair]); }
fn value_pair(row: u32, pair: u32) -> vec2f { return unpack2x16float(values[row * PAIRS + pair]); }
