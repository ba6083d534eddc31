// Module: what matvec_kept.wgsl keeps of x for weights quantised in blocks: units of 32 columns, quantised to 8 bits.
//
// Gives: Kept and Weights, a unit of a token's x and of a row; keep and load_weights, which read them; product.
// keep adds the squares of x to `squares` and applies the norm's weights afterwards. Needs a blocks module.
// Bindings: 2 W scales (f16 pairs).
// Numerics: |x - xs * xq| <= xs / 2, with xs = max |x| / 127 of the unit; integer sums are exact, products with the
// scales f32. Columns past the last count as 0 in x.
// Source: integer products with 8-bit activations as in Dettmers et al. 2022, "LLM.int8()", per unit of 32.

@group(0) @binding(2) var<storage, read> scales: array<u32>;

const PIECE_COLUMNS = 32u;
const ROW_PIECES = (COLUMNS + 31u) / 32u;
const ROW_UNITS = (COLUMNS + 2u * BLOCK - 1u) / (2u * BLOCK) * (2u * BLOCK / 32u);  // in memory
const LAST_CHUNK = (COLUMNS - 1u) / 8u;

/// Integers 8 i and on in `integers`[i], their scale and their sum.
struct Kept {
  integers: array<vec2u, 4>,
  scale: f32,
  sum: f32,
}

struct Weights {
  unit: Unit,
  scale: u32,
}

fn largest_of(values: vec4f) -> f32 {
  let two = max(abs(values.xy), abs(values.zw));
  return max(two.x, two.y);
}

fn keep(token: u32, piece: u32, squares: ptr<function, f32>) -> Kept {
  var values = array<vec4f, 8>();
  var largest = 0.0;
  for (var i = 0u; i < 8u; i++) {
    let column = PIECE_COLUMNS * piece + 4u * i;
    let at = min(column / 4u, 2u * LAST_CHUNK + 1u);
    values[i] = masked(x[token * X_STRIDE + at], column);
    if (HAS_NORM) {
      *squares += dot(values[i], values[i]);
      values[i] *= masked(norm[at], column);
    }
    largest = max(largest, largest_of(values[i]));
  }
  let inverse = select(0.0, 127.0 / largest, largest > 0.0);
  var kept: Kept;
  var sum = 0i;
  for (var i = 0u; i < 4u; i++) {
    let pair = vec2u(pack4xI8(vec4i(round(values[2u * i] * inverse))),
                     pack4xI8(vec4i(round(values[2u * i + 1u] * inverse))));
    sum += dot4I8Packed(pair.x, 0x01010101u) + dot4I8Packed(pair.y, 0x01010101u);
    kept.integers[i] = pair;
  }
  kept.scale = largest / 127.0;
  kept.sum = f32(sum);
  return kept;
}

fn load_weights(row: u32, piece: u32) -> Weights {
  let unit = row * ROW_UNITS + piece;
  let block = unit / (BLOCK / 32u);
  return Weights(load_unit(unit), scales[block / 2u] >> (16u * (block % 2u)));
}

fn product(kept: Kept, weights: Weights, piece: u32) -> f32 {
  return unpack2x16float(weights.scale).x * (kept.scale * unit_dot(weights.unit, kept.integers, kept.sum));
}
