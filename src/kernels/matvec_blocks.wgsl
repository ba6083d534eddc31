// Matrix-vector products with weights quantised in blocks, in integer arithmetic:
//   value[t, r] = sum_u ws[r, u] * xs[t, u] * sum_{k in unit u} wq[r, k] * xq[t, k]
// over units u of 32 columns, where ws is the scale of the weights' block and x has been quantised to
// xq = round(x / xs), xs = max |x| / 127 of each unit; with HAS_NORM, x stands for RMSNorm(x) (matvec.wgsl).
//
// Shapes: those of matvec_output.wgsl, which also says what becomes of the values.
// Bindings: 1 W values, 2 W scales (f16 pairs), 3 x f32 as vec4, 4 bias f32 (any buffer without HAS_BIAS),
// 5 norm f32 as vec4 (any buffer without HAS_NORM), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE. Each quantises x into workgroup memory, STAGE_UNITS units at a
// time, then SPLIT teams (team module) make ROWS rows for TOKENS tokens, DEPTH units at a time for each
// lane. x and y: row sets, any number of workgroups; z: tokens, TOKENS at a time.
// Numerics: |x - xs * xq| <= xs / 2; integer sums are exact, products of scales and sums over units f32.
// The norm's factor is applied to the finished sum. Columns past the last count as 0 in x.
// For one or a few tokens (decode).
// Source: integer products with 8-bit activations as in Dettmers et al. 2022, "LLM.int8()", per unit of 32.

@group(0) @binding(2) var<storage, read> scales: array<u32>;

const UNIT = 32u;                  // columns that share a scale of x
const STAGED = TOKENS * STAGE_UNITS;

var<workgroup> x_integers: array<vec2u, 4u * STAGED>;  // [token][quarter of a unit][unit]
var<workgroup> x_scales: array<vec2f, STAGED>;         // scale, sum of the integers
var<workgroup> x_squares: array<f32, STAGED>;          // sum of squares before the norm's weights

fn weight_scale(block: u32) -> f32 { return unpack2x16float(scales[block / 2u])[block % 2u]; }

fn packed(values: vec4f) -> u32 { return pack4xI8(vec4i(round(values))); }

fn largest_of(values: vec4f) -> f32 {
  let two = max(abs(values.xy), abs(values.zw));
  return max(two.x, two.y);
}

/// Quantises units first_unit … of TOKENS tokens; four invocations, a quad, share a unit.
fn stage(team: Team, first_unit: u32, first_token: u32) {
  for (var base = 0u; base < 4u * STAGED; base += WORKGROUP_SIZE) {
    let item = base + (team.index * team.size + team.lane);
    let is_item = item < 4u * STAGED;  // of none or all of a quad
    let token = item / (4u * STAGE_UNITS);
    let unit = item / 4u % STAGE_UNITS;
    let quarter = item % 4u;
    let column = (first_unit + unit) * UNIT + 8u * quarter;
    var low = vec4f(0.0);
    var high = vec4f(0.0);
    var squares = 0.0;
    if (is_item && column < params.columns) {
      let at = min(first_token + token, params.tokens - 1u) * params.x_stride + column / 4u;
      low = masked(x[at], column);
      high = masked(x[at + 1u], column + 4u);
      if (HAS_NORM) {
        squares = dot(low, low) + dot(high, high);
        low = masked(low * norm[column / 4u], column);
        high = masked(high * norm[column / 4u + 1u], column + 4u);
      }
    }
    let largest = quad_max(max(largest_of(low), largest_of(high)), team);
    let inverse = select(0.0, 127.0 / largest, largest > 0.0);
    let integers = vec2u(packed(low * inverse), packed(high * inverse));
    if (is_item) { x_integers[(4u * token + quarter) * STAGE_UNITS + unit] = integers; }
    let own_sum = dot4I8Packed(integers.x, 0x01010101u) + dot4I8Packed(integers.y, 0x01010101u);
    let sum = quad_sum(f32(own_sum), team);
    if (HAS_NORM) { squares = quad_sum(squares, team); }
    if (is_item && quarter == 0u) {
      x_scales[token * STAGE_UNITS + unit] = vec2f(largest / 127.0, sum);
      if (HAS_NORM) { x_squares[token * STAGE_UNITS + unit] = squares; }
    }
  }
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let share = share_of(team, teams);
  let sets = (params.rows + ROWS - 1u) / ROWS;
  let step = groups.x * groups.y * sets_of(teams);
  let units = (params.columns + UNIT - 1u) / UNIT;
  let row_units = (params.columns + 2u * BLOCK - 1u) / (2u * BLOCK) * (2u * BLOCK / UNIT);
  let first_token = group.z * TOKENS;
  if (STAGES == 1u) {
    stage(team, 0u, first_token);
    workgroupBarrier();
  }
  for (var base = (group.x + group.y * groups.x) * sets_of(teams); base < sets; base += step) {
    let first = (base + share.row_set) * ROWS;
    var sums = array<f32, OUTPUTS>();
    var squares = array<f32, TOKENS>();
    for (var s = 0u; s < STAGES; s++) {
      let first_unit = s * STAGE_UNITS;
      if (STAGES > 1u) {
        workgroupBarrier();  // the stage before has been used
        stage(team, first_unit, first_token);
        workgroupBarrier();
      }
      let staged = min(STAGE_UNITS, units - first_unit);
      for (var unit = share.lane; unit < staged; unit += DEPTH * share.lanes) {
        var w = array<Unit, ROWS * DEPTH>();  // all loads first, so that they wait together
        var w_scales = array<f32, ROWS * DEPTH>();
        for (var d = 0u; d < DEPTH; d++) {
          let column = first_unit + min(unit + d * share.lanes, staged - 1u);
          for (var r = 0u; r < ROWS; r++) {
            let at = min(first + r, params.rows - 1u) * row_units + column;
            w[d * ROWS + r] = load_unit(at);
            w_scales[d * ROWS + r] = weight_scale(at / (BLOCK / UNIT));
          }
        }
        for (var d = 0u; d < DEPTH; d++) {
          let at = unit + d * share.lanes;
          if (at >= staged) { break; }
          for (var t = 0u; t < TOKENS; t++) {
            var integers = array<vec2u, 4>();
            for (var q = 0u; q < 4u; q++) { integers[q] = x_integers[(4u * t + q) * STAGE_UNITS + at]; }
            let scale = x_scales[t * STAGE_UNITS + at];
            if (HAS_NORM) { squares[t] += x_squares[t * STAGE_UNITS + at]; }
            for (var r = 0u; r < ROWS; r++) {
              sums[t * ROWS + r] += w_scales[d * ROWS + r] * (scale.x * unit_dot(w[d * ROWS + r], integers, scale.y));
            }
          }
        }
      }
    }
    finish(team, share, first_token, first, &sums, &squares);
  }
}
