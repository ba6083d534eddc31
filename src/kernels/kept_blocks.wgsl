// Module: what matvec_kept.wgsl keeps of x for weights quantised in blocks: units of 32 columns, quantised to 8 bits.
//
// Gives: Kept and Weights, a unit of a token's x and of a row; prepare, which all invocations call before they keep a
// token; keep and load_weights, which read them; product. keep adds the squares of x before the norm's weights to
// `squares`. Needs a blocks module and stage_blocks, with all units of one token.
// Numerics: those of matvec_blocks.wgsl.

const ROW_PIECES = (COLUMNS + UNIT - 1u) / UNIT;
const ROW_UNITS = (COLUMNS + 2u * BLOCK - 1u) / (2u * BLOCK) * (2u * BLOCK / UNIT);  // in memory

/// Integers 8 i and on in `integers`[i]; their scale and their sum.
struct Kept { integers: array<vec2u, 4>, scale: vec2f }

struct Weights { unit: Unit, scale: u32 }

fn prepare(team: Team, token: u32) {
  workgroupBarrier();  // the token before has been kept
  stage(team, 0u, token);
  workgroupBarrier();
}

fn keep(token: u32, piece: u32, squares: ptr<function, f32>) -> Kept {
  var kept: Kept;
  for (var q = 0u; q < 4u; q++) { kept.integers[q] = x_integers[q * STAGE_UNITS + piece]; }
  kept.scale = x_scales[piece];
  if (HAS_NORM) { *squares += x_squares[piece]; }
  return kept;
}

fn load_weights(row: u32, piece: u32) -> Weights {
  let unit = row * ROW_UNITS + piece;
  let block = unit / (BLOCK / UNIT);
  return Weights(load_unit(unit), scales[block / 2u] >> (16u * (block % 2u)));
}

fn product(kept: Kept, weights: Weights, piece: u32) -> f32 {
  return unpack2x16float(weights.scale).x * (kept.scale.x * unit_dot(weights.unit, kept.integers, kept.scale.y));
}
