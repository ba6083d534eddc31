// Module: weights stored as bfloat16, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the rows of one shard, 16 bytes a piece.
// Numerics: rounded to f16: exact from 2^-14 to 65504, where all weights of trained models lie that matter; smaller
// ones lose bits, larger ones become 65504.

alias Piece = vec4u;

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const PIECE_COLUMNS = 8u;
const ROW_PIECES = (COLUMNS + 7u) / 8u;
const LARGEST = vec4f(65504.0);

fn load_piece(piece: u32) -> Piece { return weights[piece]; }
fn halves(piece: Piece, c: u32) -> vec4u {
  let even = clamp(bitcast<vec4f>(piece << vec4u(16u)), -LARGEST, LARGEST);
  let odd = clamp(bitcast<vec4f>(piece & vec4u(0xFFFF0000u)), -LARGEST, LARGEST);
  return vec4u(pack2x16float(vec2f(even.x, odd.x)), pack2x16float(vec2f(even.y, odd.y)),
               pack2x16float(vec2f(even.z, odd.z)), pack2x16float(vec2f(even.w, odd.w)));
}
