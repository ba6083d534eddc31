// Quantises rows of float weights in blocks of BLOCK columns (BITS 8 or 4; layout: quant/blocks.h):
//   BITS 8: scale = max |w| / 127,  q = round(w / scale)                       value = q * scale
//   BITS 4: q = round(w / scale) + 8 in 0 … 15                                 value = (q - 8) * scale
//     with the scale of least squared error among e / -d, where e is the element farthest from 0 and d is
//     7, 7.25, … 9, and then the least-squares scale sum w (q - 8) / sum (q - 8)^2 of those integers.
//
// Shapes: W [rows, columns] floats (weight module); values and scales as in quant/blocks.h from row `first_row`.
// Bindings: 1 and 2 W (weight module), 3 values, written, 4 scales (f16 pairs), written.
// Dispatch: one invocation for two neighbouring blocks of a row; x: pairs of blocks in groups of
// WORKGROUP_SIZE, y and z: row (z * rows_per_z + y).
// Numerics: scales are rounded to f16 before they are used. Columns past the last count as 0. A block with NaN,
// infinity or a scale above the largest f16 gets a scale that is NaN, so that the logits tell.
// Source: quant/blocks.h holds the same for the CPU; Frantar et al. 2022 and llama.cpp's documents discuss
// choosing scales by error.

struct Params {
  rows: u32,
  columns: u32,
  first_row: u32,
  rows_per_z: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;
@group(0) @binding(4) var<storage, read_write> scales: array<u32>;

const CANDIDATES = 9u;
const EXPONENT = 0x7f800000u;  // of f32, all ones for NaN and infinity
const NAN_LOW = 0x7e00u;       // f16
const CHUNKS = BLOCK / 8u;
const LARGEST_SCALE = 65504.0;
const SMALLEST_NORMAL = 6.103515625e-05;      // 2^-14
const SMALLEST_STEP = 5.9604644775390625e-08; // 2^-24, of smaller ones
const LARGEST = LARGEST_SCALE * select(9.0, 127.0, BITS == 8u);  // element that a scale can reach

/// The nearest f16 by integer arithmetic: compilers may leave out a pack followed by an unpack. The clamp is for
/// packing, which leaves both halves open where one is too large.
fn rounded_to_f16(value: f32) -> f32 {
  if (abs(value) < SMALLEST_NORMAL) { return round(value / SMALLEST_STEP) * SMALLEST_STEP; }
  let bits = bitcast<u32>(clamp(value, -LARGEST_SCALE, LARGEST_SCALE));
  return bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
}

/// Eight columns of the row, 0 past the last.
fn load_masked(row: u32, chunk: u32) -> Eight {
  let column = 8u * chunk;
  if (column >= params.columns) { return Eight(vec4f(0.0), vec4f(0.0)); }
  let w = load_chunk(row * row_chunks(params.columns) + chunk);
  let index = vec4u(0u, 1u, 2u, 3u) + column;
  return Eight(select(vec4f(0.0), w.low, index < vec4u(params.columns)),
               select(vec4f(0.0), w.high, index + 4u < vec4u(params.columns)));
}

/// The integers w / scale, clamped to what BITS holds, without the offset of 4 bits.
fn integers(w: vec4f, inverse: f32) -> vec4f {
  if (BITS == 8u) { return clamp(round(w * inverse), vec4f(-127.0), vec4f(127.0)); }
  return clamp(round(w * inverse), vec4f(-8.0), vec4f(7.0));
}

fn inverse_of(scale: f32) -> f32 { return select(0.0, 1.0 / scale, scale != 0.0); }

fn farther(a: f32, b: f32) -> f32 { return select(a, b, abs(b) > abs(a)); }

/// The element of a block that is farthest from 0.
fn extreme_of(row: u32, first: u32) -> f32 {
  var extreme = 0.0;
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    for (var i = 0u; i < 4u; i++) { extreme = farther(farther(extreme, w.low[i]), w.high[i]); }
  }
  return extreme;
}

fn squared_error(w: vec4f, scale: f32) -> f32 {
  let difference = w - scale * integers(w, inverse_of(scale));
  return dot(difference, difference);
}

/// The scale of 4 bits with the least squared error (see above).
fn best_scale(row: u32, first: u32, extreme: f32) -> f32 {
  var candidates = array<f32, CANDIDATES>();
  var errors = array<f32, CANDIDATES>();
  for (var k = 0u; k < CANDIDATES; k++) { candidates[k] = rounded_to_f16(extreme / -(7.0 + 0.25 * f32(k))); }
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    for (var k = 0u; k < CANDIDATES; k++) {
      errors[k] += squared_error(w.low, candidates[k]) + squared_error(w.high, candidates[k]);
    }
  }
  var scale = candidates[0];
  var error = errors[0];
  for (var k = 1u; k < CANDIDATES; k++) {
    if (errors[k] < error) {
      error = errors[k];
      scale = candidates[k];
    }
  }
  var products = 0.0;
  var squares = 0.0;
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    let low = integers(w.low, inverse_of(scale));
    let high = integers(w.high, inverse_of(scale));
    products += dot(w.low, low) + dot(w.high, high);
    squares += dot(low, low) + dot(high, high);
  }
  if (squares == 0.0) { return scale; }
  let refined = rounded_to_f16(products / squares);
  var refined_error = 0.0;
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    refined_error += squared_error(w.low, refined) + squared_error(w.high, refined);
  }
  return select(scale, refined, refined_error < error);
}

/// Writes eight columns: 8 bits in order; 4 bits as halves of the bytes of 32 columns, by the caller.
fn store_bytes(at: u32, w: Eight, inverse: f32) {
  values[at] = pack4xI8(vec4i(integers(w.low, inverse)));
  values[at + 1u] = pack4xI8(vec4i(integers(w.high, inverse)));
}

fn store_halves(at: u32, a: vec4f, b: vec4f, inverse: f32) {
  let low = pack4xU8(vec4u(integers(a, inverse) + 8.0));
  let high = pack4xU8(vec4u(integers(b, inverse) + 8.0));
  values[at] = low | (high << 4u);
}

/// Quantises a block and returns its scale. `block` counts from the first row of the plane.
fn quantize_block(row: u32, first: u32, block: u32) -> f32 {
  let extreme = extreme_of(row, first);
  var scale = rounded_to_f16(abs(extreme) / 127.0);
  if (BITS == 4u) { scale = best_scale(row, first, extreme); }
  let inverse = inverse_of(scale);
  if (BITS == 8u) {
    for (var c = 0u; c < CHUNKS; c++) {
      store_bytes(block * (BLOCK / 4u) + 2u * c, load_masked(row, first + c), inverse);
    }
    return scale;
  }
  for (var c = 0u; c < CHUNKS; c += 4u) {  // 32 columns: bytes j hold the columns j and j + 16
    for (var i = 0u; i < 2u; i++) {
      let a = load_masked(row, first + c + i);
      let b = load_masked(row, first + c + 2u + i);
      let at = block * (BLOCK / 8u) + c + 2u * i;
      store_halves(at, a.low, b.low, inverse);
      store_halves(at + 1u, a.high, b.high, inverse);
    }
  }
  return scale;
}

/// True where no element of a block is NaN, infinite or beyond what a scale can reach.
fn is_storable(row: u32, first: u32) -> bool {
  var storable = true;
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    storable = storable && all(abs(w.low) <= vec4f(LARGEST)) && all(abs(w.high) <= vec4f(LARGEST)) &&
             all((bitcast<vec4u>(w.low) & vec4u(EXPONENT)) != vec4u(EXPONENT)) &&
             all((bitcast<vec4u>(w.high) & vec4u(EXPONENT)) != vec4u(EXPONENT));
  }
  return storable;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.z * params.rows_per_z + id.y;
  let row_pairs = (params.columns + 2u * BLOCK - 1u) / (2u * BLOCK);
  if (id.x >= row_pairs || row >= params.rows || id.y >= params.rows_per_z) { return; }
  let pair = (params.first_row + row) * row_pairs + id.x;
  let first = 2u * id.x * CHUNKS;
  let left = quantize_block(row, first, 2u * pair);
  let right = quantize_block(row, first + CHUNKS, 2u * pair + 1u);
  let left_is_storable = is_storable(row, first);
  let right_is_storable = is_storable(row, first + CHUNKS);
  scales[pair] = pack2x16float(vec2f(select(0.0, left, left_is_storable), select(0.0, right, right_is_storable))) |
                 select(NAN_LOW, 0u, left_is_storable) | select(NAN_LOW << 16u, 0u, right_is_storable);
}
