// Module: weights in super-blocks of Q6_K, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the plane of integers, 2 that of scales. Layout: weights_q6_k.wgsl.
// Numerics: integers are exact in f16; the scale of a group, 65504 at most, and its product with them are rounded to
// f16.

struct Piece {
  low: vec4u,
  high: vec4u,  // of this piece and the one that shares 16 bytes with it
  groups: u32,  // scales of four groups
  factor: u32,
  unit: u32,    // of the super-block
}

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

const PIECE_COLUMNS = 32u;
const ROW_PIECES = COLUMNS / PIECE_COLUMNS;
const LARGEST = 65504.0;

fn load_piece(piece: u32) -> Piece {
  let block = piece / 8u;
  let unit = piece % 8u;
  return Piece(weights[block * 12u + unit], weights[block * 12u + 8u + unit / 2u], scales[block * 5u + unit / 2u],
               scales[block * 5u + 4u], unit);
}

/// Four bytes of six bits, two's complement, as f16, without conversions: with the sign turned they are the end of the
/// f16 1024 + bits + 32.
fn four(bytes: u32, scale: f16) -> vec2u {
  let even = (bitcast<vec2<f16>>((bytes & 0x003f003fu) ^ 0x64206420u) - 1056.0h) * scale;
  let odd = (bitcast<vec2<f16>>(((bytes >> 8u) & 0x003f003fu) ^ 0x64206420u) - 1056.0h) * scale;
  return vec2u(bitcast<u32>(vec2<f16>(even.x, odd.x)), bitcast<u32>(vec2<f16>(even.y, odd.y)));
}

fn halves(piece: Piece, c: u32) -> vec4u {
  let group = piece.unit % 2u * 2u + c / 2u;
  let group_scale = f32(i32(piece.groups << (24u - 8u * group)) >> 24u);
  let scale = f16(clamp(unpack2x16float(piece.factor).x * group_scale, -LARGEST, LARGEST));
  let low = (select(piece.low.xy, piece.low.zw, c % 2u == 1u) >> vec2u(c / 2u * 4u)) & vec2u(0x0f0f0f0fu);
  let pair = select(piece.high.xy, piece.high.zw, piece.unit % 2u == 1u);
  let high = select(pair.x, pair.y, c >= 2u) >> (c % 2u * 4u);
  let bytes = low | ((vec2u(high << 4u, high << 2u)) & vec2u(0x30303030u));
  return vec4u(four(bytes.x, scale), four(bytes.y, scale));
}
