// Module: weights in super-blocks of Q4_K, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q4_k.wgsl.
// Numerics: value = (integer - 8) * scale + (8 * scale - offset), where integers are exact; scale, the second bracket
// (small, as a group's values lie round 0) and the value are rounded to f16, to 65504 at most.

struct Piece {
  integers: vec4u,
  header: vec4u,
  group: u32,
}

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const PIECE_COLUMNS = 32u;
const ROW_PIECES = COLUMNS / PIECE_COLUMNS;
const LARGEST = vec2f(65504.0);

fn load_piece(piece: u32) -> Piece { return Piece(weights[piece], scales[piece / 8u], piece % 8u); }

/// The low halves of four bytes as f16, without conversions: four bits are the end of the f16 1024 + bits.
fn four(bytes: u32, scale: vec2<f16>) -> vec2u {
  let even = (bitcast<vec2<f16>>((bytes & 0x000f000fu) | 0x64006400u) - 1032.0h) * scale.x + scale.y;
  let odd = (bitcast<vec2<f16>>(((bytes >> 8u) & 0x000f000fu) | 0x64006400u) - 1032.0h) * scale.x + scale.y;
  return vec2u(bitcast<u32>(vec2<f16>(even.x, odd.x)), bitcast<u32>(vec2<f16>(even.y, odd.y)));
}

fn halves(piece: Piece, c: u32) -> vec4u {
  let exact = group_scale(piece.header, piece.group);
  let scale = vec2<f16>(clamp(vec2f(exact.x, 8.0 * exact.x - exact.y), -LARGEST, LARGEST));
  let bytes = select(piece.integers.xy, piece.integers.zw, c % 2u == 1u) >> vec2u(c / 2u * 4u);
  return vec4u(four(bytes.x, scale), four(bytes.y, scale));
}
