// Module: x quantised to 8 bits in workgroup memory, in units of 32 columns, for weights quantised in blocks.
//
// Gives: stage, which all invocations of the workgroup call to quantise STAGE_UNITS units of TOKENS tokens, after
// the norm's weights where there are some; x_integers, x_scales and x_squares, where it leaves them; UNIT; weight_scale.
// Needs the modules team and matvec_output.
// Bindings: 2 W scales (f16 pairs).
// Numerics: xq = round(x / xs), xs = max |x| / 127 of the unit, so |x - xs * xq| <= xs / 2. Columns past the last count
// as 0.

@group(0) @binding(2) var<storage, read> scales: array<u32>;

fn weight_scale(block: u32) -> f32 {
  let pair = unpack2x16float(scales[block / 2u]);
  return select(pair.x, pair.y, block % 2u == 1u);
}

const UNIT = 32u;                  // columns that share a scale of x
const STAGED = TOKENS * STAGE_UNITS;
// Items that are read at once: one where each costs barriers.
const STAGE_DEPTH = select(min(4u, (4u * STAGED + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE), 1u, TEAMS_HAVE_BARRIERS);

var<workgroup> x_integers: array<vec2u, 4u * STAGED>;  // [token][quarter of a unit][unit]
var<workgroup> x_scales: array<vec2f, STAGED>;         // scale, sum of the integers
var<workgroup> x_squares: array<f32, STAGED>;          // sum of squares before the norm's weights

fn packed(values: vec4f) -> u32 { return pack4xI8(vec4i(round(values))); }

fn largest_of(values: vec4f) -> f32 {
  let two = max(abs(values.xy), abs(values.zw));
  return max(two.x, two.y);
}

/// The items of a stage; not known to compilers where barriers are in the loop (see loop_end).
fn stage_end() -> u32 { return 4u * STAGED * loop_end(1u); }

/// Quantises units first_unit … of TOKENS tokens; four invocations, a quad, share a unit. Several are read at
/// once, so that they wait together.
fn stage(team: Team, first_unit: u32, first_token: u32) {
  for (var base = 0u; base < stage_end(); base += STAGE_DEPTH * WORKGROUP_SIZE) {
    var low = array<vec4f, STAGE_DEPTH>();
    var high = array<vec4f, STAGE_DEPTH>();
    var low_norms = array<vec4f, STAGE_DEPTH>();
    var high_norms = array<vec4f, STAGE_DEPTH>();
    for (var d = 0u; d < STAGE_DEPTH; d++) {
      let item = base + d * WORKGROUP_SIZE + team.index * team.size + team.lane;
      let token = min(first_token + item / (4u * STAGE_UNITS), params.tokens - 1u);
      let chunk = min((first_unit + item / 4u % STAGE_UNITS) * (UNIT / 8u) + item % 4u, (COLUMNS - 1u) / 8u);
      low[d] = x[token * X_STRIDE + 2u * chunk];
      high[d] = x[token * X_STRIDE + 2u * chunk + 1u];
      if (HAS_NORM) {
        low_norms[d] = norm[2u * chunk];
        high_norms[d] = norm[2u * chunk + 1u];
      }
    }
    for (var d = 0u; d < STAGE_DEPTH; d++) {
      let item = base + d * WORKGROUP_SIZE + team.index * team.size + team.lane;
      leave(team, item, first_unit, low[d], high[d], low_norms[d], high_norms[d]);
    }
  }
}

/// Quantises the eight values of one item and leaves them, the unit's scale and its sums in workgroup memory.
fn leave(team: Team, item: u32, first_unit: u32, values_low: vec4f, values_high: vec4f, norms_low: vec4f,
         norms_high: vec4f) {
  let is_item = item < 4u * STAGED;  // of none or all of a quad
  let token = item / (4u * STAGE_UNITS);
  let unit = item / 4u % STAGE_UNITS;
  let quarter = item % 4u;
  let column = (first_unit + unit) * UNIT + 8u * quarter;
  var low = masked(values_low, column);
  var high = masked(values_high, column + 4u);
  var squares = 0.0;
  if (HAS_NORM) {
    squares = quad_sum(dot(low, low) + dot(high, high), team);
    low *= masked(norms_low, column);
    high *= masked(norms_high, column + 4u);
  }
  let largest = quad_max(max(largest_of(low), largest_of(high)), team);
  let inverse = select(0.0, 127.0 / largest, largest > 0.0);
  let integers = vec2u(packed(low * inverse), packed(high * inverse));
  let own_sum = dot4I8Packed(integers.x, 0x01010101u) + dot4I8Packed(integers.y, 0x01010101u);
  let sum = quad_sum(f32(own_sum), team);
  if (!is_item) { return; }
  x_integers[(4u * token + quarter) * STAGE_UNITS + unit] = integers;
  if (quarter == 0u) {
    x_scales[token * STAGE_UNITS + unit] = vec2f(largest / 127.0, sum);
    if (HAS_NORM) { x_squares[token * STAGE_UNITS + unit] = squares; }
  }
}

