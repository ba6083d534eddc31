// Module: weights in super-blocks of Q6_K: 256 columns in 16 groups of 16; a chunk is 8 elements.
//
// Gives: load_chunk, which reads chunk i of the shard: 8 elements of one row as two vec4f.
// Bindings: 1 the plane of integers (from -32 to 31, two's complement), 192 bytes a super-block: the low four bits of
// two groups as in Q4_K, 16 bytes; then the high two of each group, 4 bytes, those of column 4 i + b in the bits 8 b +
// 2 i and above; 2 the plane of scales, 20 bytes a super-block: one byte, two's complement, a group, then the f16 that
// they are multiples of. Layout: quant/super_blocks.h.
// Numerics: value = integer * scale, exact in f32; a device may flush factors that are subnormal halves to zero.

struct Eight { low: vec4f, high: vec4f }

@group(0) @binding(1) var<storage, read> weights: array<vec2u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

fn load_chunk(chunk: u32) -> Eight {
  let block = chunk / 32u;
  let unit = chunk / 4u % 8u;  // of two groups, or four chunks
  let quarter = chunk % 4u;
  let low = (weights[block * 24u + unit * 2u + chunk % 2u] >> vec2u(quarter / 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let high = weights[block * 24u + 16u + unit][quarter / 2u] >> (chunk % 2u * 4u);
  // At the upper end of a byte the six bits are four times the integer.
  let bits = (low << vec2u(2u)) | ((vec2u(high << 6u, high << 4u)) & vec2u(0xc0c0c0c0u));
  let group_scales = unpack4xI8(scales[block * 5u + unit / 2u]);
  let scale = unpack2x16float(scales[block * 5u + 4u]).x * 0.25 * f32(group_scales[unit % 2u * 2u + quarter / 2u]);
  return Eight(scale * vec4f(unpack4xI8(bits.x)), scale * vec4f(unpack4xI8(bits.y)));
}

/// Chunks from one row to the next.
fn row_chunks(columns: u32) -> u32 { return columns / 8u; }
