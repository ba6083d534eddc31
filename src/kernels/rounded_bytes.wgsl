// Module: floats rounded to signed bytes (matvec_blocks.wgsl, x_blocks.wgsl, step_blocks.wgsl).
//
// Gives: rounded, four bytes of a word: round(values * factor), where that is from -127 to 127.
// Numerics: to the nearest integer, ties to even, after the product's own rounding or without it, on devices that round
// sums so, as Direct3D and Metal demand. WGSL would allow the other neighbour, too, which the self-tests would find.
// Source: between 2^23 and 2^24 an f32 holds integers, the lowest bits of which are its own lowest bits. Conversions
// cost GPUs several times as much as additions.

const ROUNDER = 12582912.0;  // 3 * 2^22

fn rounded(values: vec4f, factor: f32) -> u32 {
  let bits = bitcast<vec4u>(fma(values, vec4f(factor), vec4f(ROUNDER))) & vec4u(0xffu);
  return bits.x | (bits.y << 8u) | (bits.z << 16u) | (bits.w << 24u);
}
