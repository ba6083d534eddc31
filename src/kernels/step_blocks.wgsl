// Module: an end of attention_step.wgsl for products that multiply integers (matvec_few.wgsl): what the heads found is
// quantised as x_blocks.wgsl does it, without a dispatch of its own.
//
// Gives: hold, which takes four finished elements of a head; put_units, which follows a barrier when all of a head's
// have been taken, and which all invocations of the workgroup call. Needs rounded_bytes.
// Shapes: integers, in y, i8 [tokens, heads * head_dim / 32, 32]; scales [tokens, heads * head_dim / 32].
// Bindings: 9 scales: of vec2f (scale, sum of the unit's integers).
// Numerics: |value - scale * integer| <= scale / 2.
// Source: x_blocks.wgsl.

@group(0) @binding(9) var<storage, read_write> scales: array<vec2f>;

const UNITS = QUARTERS / 8u;  // of a head, of 32 elements each

var<workgroup> held: array<vec4f, QUARTERS>;

fn hold(quarter: u32, value: vec4f) { held[quarter] = value; }

/// `row` counts the heads of all tokens, `position` the invocations of the workgroup: one for each unit has work.
fn put_units(row: u32, position: u32) {
  if (position >= UNITS) { return; }
  let unit = row * UNITS + position;
  var four = vec4f(0.0);
  for (var i = 0u; i < 8u; i++) { four = max(four, abs(held[8u * position + i])); }
  let largest = max(max(four.x, four.y), max(four.z, four.w));
  let inverse = select(0.0, 127.0 / largest, largest > 0.0);
  var sum = 0i;
  for (var i = 0u; i < 4u; i++) {
    let at = 8u * position + 2u * i;
    let words = vec2u(rounded(held[at], inverse), rounded(held[at + 1u], inverse));
    sum += dot4I8Packed(words.x, 0x01010101u) + dot4I8Packed(words.y, 0x01010101u);
    y[4u * unit + i] = words;
  }
  scales[unit] = vec2f(largest / 127.0, f32(sum));
}
