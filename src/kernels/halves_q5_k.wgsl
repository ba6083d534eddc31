// Module: weights in super-blocks of Q5_K, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q5_k.wgsl.
// Numerics: value = (integer - 16) * scale + (16 * scale - offset), where integers are exact; scale, the second bracket
// (small, as a group's values lie round 0) and the value are rounded to f16, to 65504 at most.

struct Piece {
  low: vec4u,
  header: vec4u,
  fifth: u32,
  group: u32,
}

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const PIECE_COLUMNS = 32u;
const ROW_PIECES = COLUMNS / PIECE_COLUMNS;
const LARGEST = vec2f(65504.0);

fn load_piece(piece: u32) -> Piece {
  let block = piece / 8u * 10u;  // in vec4u
  let group = piece % 8u;
  return Piece(weights[block + group], scales[piece / 8u], weights[block + 8u + group / 4u][group % 4u], group);
}

/// Four bytes of five bits as f16, without conversions: five bits are the end of the f16 1024 + bits.
fn four(bytes: u32, scale: vec2<f16>) -> vec2u {
  let even = (bitcast<vec2<f16>>((bytes & 0x001f001fu) | 0x64006400u) - 1040.0h) * scale.x + scale.y;
  let odd = (bitcast<vec2<f16>>(((bytes >> 8u) & 0x001f001fu) | 0x64006400u) - 1040.0h) * scale.x + scale.y;
  return vec2u(bitcast<u32>(vec2<f16>(even.x, odd.x)), bitcast<u32>(vec2<f16>(even.y, odd.y)));
}

fn halves(piece: Piece, c: u32) -> vec4u {
  let exact = group_scale(piece.header, piece.group);
  let scale = vec2<f16>(clamp(vec2f(exact.x, 16.0 * exact.x - exact.y), -LARGEST, LARGEST));
  let low = (select(piece.low.xy, piece.low.zw, c % 2u == 1u) >> vec2u(c / 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let fifth = vec2u(piece.fifth >> (2u * c), piece.fifth >> (2u * c + 1u)) & vec2u(0x01010101u);
  let bytes = low | (fifth << vec2u(4u));
  return vec4u(four(bytes.x, scale), four(bytes.y, scale));
}
