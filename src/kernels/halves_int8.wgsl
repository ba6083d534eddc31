// Module: weights quantised to int8 in blocks of BLOCK columns, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the plane of values, 16 bytes a piece; 2 the plane of scales. Layout: quant/blocks.h.
// Numerics: integers are exact in f16, their products with the scale are rounded to f16.

struct Piece {
  values: vec4u,
  scale: f16,
}

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;
@group(0) @binding(2) var<storage, read> scales: array<f16>;

const PIECE_COLUMNS = 16u;
const ROW_PIECES = (COLUMNS + 2u * BLOCK - 1u) / (2u * BLOCK) * (2u * BLOCK / PIECE_COLUMNS);

fn load_piece(piece: u32) -> Piece { return Piece(weights[piece], scales[piece / (BLOCK / PIECE_COLUMNS)]); }

/// Four bytes as f16, without conversions: the byte with its sign turned is the end of the f16 1024 + byte + 128.
fn four(bytes: u32, scale: f16) -> vec2u {
  let turned = bytes ^ 0x80808080u;
  let even = (bitcast<vec2<f16>>((turned & 0x00ff00ffu) | 0x64006400u) - 1152.0h) * scale;
  let odd = (bitcast<vec2<f16>>(((turned >> 8u) & 0x00ff00ffu) | 0x64006400u) - 1152.0h) * scale;
  return vec2u(bitcast<u32>(vec2<f16>(even.x, odd.x)), bitcast<u32>(vec2<f16>(even.y, odd.y)));
}

fn halves(piece: Piece, c: u32) -> vec4u {
  let bytes = select(piece.values.xy, piece.values.zw, c == 1u);
  return vec4u(four(bytes.x, piece.scale), four(bytes.y, piece.scale));
}
