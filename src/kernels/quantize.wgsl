// Quantises rows of float weights in blocks of BLOCK columns (BITS 8 or 4; layout: quant/blocks.h):
//   BITS 8: scale = max |w| / 127,  q = round(w / scale) in -127 … 127         value = q * scale
//   BITS 4: q = round(w / scale) + 8 in 0 … 15                                 value = (q - 8) * scale
//     with the scale of least squared error among e / -d, where e is the element farthest from 0 and d is
//     7, 7.25, … 9, and then the least-squares scale sum w (q - 8) / sum (q - 8)^2 of those integers.
//
// Shapes: W [rows, columns] floats (weight module); values and scales as in quant/blocks.h from row `first_row`.
// Bindings: 1 and 2 W (weight module), 3 values, written, 4 scales (f16 pairs), written.
// Dispatch: one invocation for two neighbouring blocks of a row; x: pairs of blocks in groups of
// WORKGROUP_SIZE, y and z: row (z * rows_per_z + y).
// Numerics: scales are rounded to f16 before they are used. Integers, and scales of 8 bits, are rounded from the exact
// quotients, ties to even, however a device divides: with 8 bits every bit is the CPU's. With 4 bits a scale may be one
// of about the same error, as its candidates are quotients of f32 (off by up to 2.5 ULP before they are rounded) and
// errors are sums of f32. Columns past the last count as 0. A block with NaN, infinity or a scale that rounds to more
// than the largest f16 gets a scale that is NaN, so that the logits tell, and integers 0.
// Source: quant/blocks.h holds the same for the CPU; Frantar et al. 2022 and llama.cpp's documents discuss
// choosing scales by error.

struct Params {
  rows: u32,
  columns: u32,
  first_row: u32,
  rows_per_z: u32,
}

@group(0) @binding(3) var<storage, read_write> values: array<u32>;
@group(0) @binding(4) var<storage, read_write> scales: array<u32>;

const CANDIDATES = 9u;
const EXPONENT = 0x7f800000u;  // of f32, all ones for NaN and infinity
const NAN_HALF = 0x7e00u;      // f16
const CHUNKS = BLOCK / 8u;
const LARGEST_SCALE = 65504.0;
const BEYOND = 65520.0 * select(9.0, 127.0, BITS == 8u);  // the least element whose scale would round to infinity
const SMALLEST_NORMAL = 6.103515625e-05;                  // of f16, 2^-14
const STEP = 5.9604644775390625e-08;                      // of those that are smaller, 2^-24
const STEPS = 16777216.0;                                 // 1 / STEP: products with powers of two are exact
const LOW = select(-8.0, -127.0, BITS == 8u);
const HIGH = select(7.0, 127.0, BITS == 8u);

/// The nearest f16 by integer arithmetic: compilers may leave out a pack followed by an unpack.
fn rounded_to_f16(value: f32) -> f32 {
  if (abs(value) < SMALLEST_NORMAL) { return round(value * STEPS) * STEP; }
  let bits = bitcast<u32>(clamp(value, -LARGEST_SCALE, LARGEST_SCALE));
  return bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
}

/// The bits of a value that f16 holds exactly: packing may make a small one 0.
fn bits_of_f16(value: f32) -> u32 {
  let sign = select(0u, 0x8000u, value < 0.0);
  if (abs(value) < SMALLEST_NORMAL) { return sign | u32(abs(value) * STEPS); }
  return sign | (((bitcast<u32>(value) & 0x7fffffffu) >> 13u) - (112u << 10u));
}

/// The f16 nearest to value / 127, in integers, as a quotient of floats may be off by 2.5 ULP.
fn scale_of_bytes(value: f32) -> f32 {
  if (value <= 63.5 * STEP) { return 0.0; }
  let bits = bitcast<u32>(value);
  let dividend = ((bits & 0x7fffffu) | 0x800000u) << 7u;  // value = dividend * 2^(exponent - 157)
  var exponent = (bits >> 23u) - 7u;
  var quotient = dividend / 127u;
  var is_inexact = quotient * 127u != dividend;
  if (quotient >= 0x1000000u) {
    is_inexact = is_inexact || (quotient & 1u) != 0u;
    quotient >>= 1u;
    exponent += 1u;
  }
  // What is lost makes the last bit 1: f16 has 13 bits less, so that this neither makes a tie nor breaks one.
  let odd = (quotient & 0x7fffffu) | select(0u, 1u, is_inexact);
  return rounded_to_f16(bitcast<f32>((exponent << 23u) | odd));
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

/// The integers nearest to w / scale or, close to the middle of two, either of them; without the offset of 4 bits.
fn integers(w: vec4f, inverse: f32) -> vec4f { return clamp(round(w * inverse), vec4f(LOW), vec4f(HIGH)); }

/// The integers nearest to w / scale, ties to even. What is left of w is exact: scale has 11 bits and an integer 7, and
/// of two numbers within a factor of 2 the difference is one too. (Just below scale / 2, what 1 leaves may round to a
/// tie: it is corrected all the same.)
fn nearest_integers(w: vec4f, scale: f32, inverse: f32) -> vec4f {
  let near = integers(w, inverse);
  let rest = w - scale * near;
  let middle = vec4f(0.5 * abs(scale));
  let is_odd = (vec4i(near) & vec4i(1)) == vec4i(1);
  let is_off = (abs(rest) > middle) | ((abs(rest) == middle) & is_odd);
  let step = select(vec4f(-1.0), vec4f(1.0), (rest > vec4f(0.0)) == vec4<bool>(scale > 0.0));
  let nearest = clamp(near + select(vec4f(0.0), step, is_off), vec4f(LOW), vec4f(HIGH));
  return select(vec4f(0.0), nearest, scale != 0.0);
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
fn store_bytes(at: u32, w: Eight, scale: f32, inverse: f32) {
  values[at] = pack4xI8(vec4i(nearest_integers(w.low, scale, inverse)));
  values[at + 1u] = pack4xI8(vec4i(nearest_integers(w.high, scale, inverse)));
}

fn store_halves(at: u32, a: vec4f, b: vec4f, scale: f32, inverse: f32) {
  let low = pack4xU8(vec4u(nearest_integers(a, scale, inverse) + 8.0));
  let high = pack4xU8(vec4u(nearest_integers(b, scale, inverse) + 8.0));
  values[at] = low | (high << 4u);
}

/// True where no element of a block is NaN, infinite or beyond what a scale can reach.
fn is_storable(row: u32, first: u32) -> bool {
  var storable = true;
  for (var c = 0u; c < CHUNKS; c++) {
    let w = load_masked(row, first + c);
    storable = storable && all(abs(w.low) < vec4f(BEYOND)) && all(abs(w.high) < vec4f(BEYOND)) &&
             all((bitcast<vec4u>(w.low) & vec4u(EXPONENT)) != vec4u(EXPONENT)) &&
             all((bitcast<vec4u>(w.high) & vec4u(EXPONENT)) != vec4u(EXPONENT));
  }
  return storable;
}

/// Writes the integers of a block with this scale. `block` counts from the first row of the plane.
fn store_block(row: u32, first: u32, block: u32, scale: f32) {
  let inverse = inverse_of(scale);
  if (BITS == 8u) {
    for (var c = 0u; c < CHUNKS; c++) {
      store_bytes(block * (BLOCK / 4u) + 2u * c, load_masked(row, first + c), scale, inverse);
    }
    return;
  }
  for (var c = 0u; c < CHUNKS; c += 4u) {  // 32 columns: bytes j hold the columns j and j + 16
    for (var i = 0u; i < 2u; i++) {
      let a = load_masked(row, first + c + i);
      let b = load_masked(row, first + c + 2u + i);
      let at = block * (BLOCK / 8u) + c + 2u * i;
      store_halves(at, a.low, b.low, scale, inverse);
      store_halves(at + 1u, a.high, b.high, scale, inverse);
    }
  }
}

/// Quantises a block and returns the bits of its scale.
fn quantize_block(row: u32, first: u32, block: u32) -> u32 {
  let storable = is_storable(row, first);
  var scale = 0.0;
  if (storable) {
    let extreme = extreme_of(row, first);
    if (BITS == 8u) {
      scale = scale_of_bytes(abs(extreme));
    } else {
      scale = best_scale(row, first, extreme);
    }
  }
  store_block(row, first, block, scale);
  return select(NAN_HALF, bits_of_f16(scale), storable);
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
  scales[pair] = left | (right << 16u);
}
