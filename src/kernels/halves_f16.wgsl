// Module: weights stored as f16, for matrix units.
//
// Gives: Piece, what is read at a time (PIECE_COLUMNS columns of a row, ROW_PIECES in a row); load_piece, which reads
// piece i of the shard; halves, chunk c of a piece: 8 columns as four pairs of f16.
// Bindings: 1 the rows of one shard, 16 bytes a piece.
// Numerics: exact.

alias Piece = vec4u;

@group(0) @binding(1) var<storage, read> weights: array<vec4u>;

const PIECE_COLUMNS = 8u;
const ROW_PIECES = (COLUMNS + 7u) / 8u;

fn load_piece(piece: u32) -> Piece { return weights[piece]; }
fn halves(piece: Piece, c: u32) -> vec4u { return piece; }
