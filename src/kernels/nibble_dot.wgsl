// Module: integer products of 32 columns of 4 bits, as matvec_blocks.wgsl's modules need them.
//
// Gives: nibble_dot, sum_k w[k] * x[k] of integers: w a group of 16 bytes, byte j holding column j in its low and column
// j + 16 in its high half (unsigned); x as stored by matvec_blocks.wgsl.
// Numerics: exact in i32.

fn nibble_dot(w: vec4u, x: array<vec2u, 4>) -> i32 {
  let low = w & vec4u(0x0f0f0f0fu);
  let high = (w >> vec4u(4u)) & vec4u(0x0f0f0f0fu);
  var sum = dot4I8Packed(low.x, x[0].x) + dot4I8Packed(low.y, x[0].y);
  sum += dot4I8Packed(low.z, x[1].x) + dot4I8Packed(low.w, x[1].y);
  sum += dot4I8Packed(high.x, x[2].x) + dot4I8Packed(high.y, x[2].y);
  return sum + dot4I8Packed(high.z, x[3].x) + dot4I8Packed(high.w, x[3].y);
}
