// Matrix-vector products with weights quantised in blocks, in integer arithmetic:
//   value[t, r] = sum_u xs[t, u] * sum_{k in unit u} w[r, k] * xq[t, k]
// over units u of 32 columns, where x has been quantised to xq = round(x / xs), xs = max |x| / 127 of each unit, and
// the inner sum is that of a blocks module: integers' products, then scales. With HAS_NORM, x stands for RMSNorm(x)
// (matvec.wgsl).
//
// Shapes: those of matvec_output.wgsl; its put module says what becomes of the values.
// Bindings: 1 W values, 2 W scales (blocks module), 3 x f32 as vec4, 4 bias f32 (bias module),
// 5 norm f32 as vec4 (norm module), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE. Each quantises x into workgroup memory, STAGE_UNITS units at a
// time, then SPLIT teams (team module) make ROWS rows for TOKENS tokens, DEPTH units at a time for each
// lane. x and y: row sets, any number of workgroups; z: tokens, TOKENS at a time.
// Numerics: |x - xs * xq| <= xs / 2; integer sums are exact, products of scales and sums over units f32.
// The norm's factor is applied to the finished sum. Columns past the last count as 0 in x.
// For one or a few tokens (decode).
// Source: integer products with 8-bit activations as in Dettmers et al. 2022, "LLM.int8()", per unit of 32.

const UNIT = 32u;                  // columns that share a scale of x
const STAGED = TOKENS * STAGE_UNITS;
// Items that are read at once: one where each costs barriers.
const STAGE_DEPTH = select(min(4u, (4u * STAGED + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE), 1u, TEAMS_HAVE_BARRIERS);

var<workgroup> x_integers: array<vec2u, 4u * STAGED>;  // [token][quarter of a unit][unit]
var<workgroup> x_scales: array<vec2f, STAGED>;         // scale, sum of the integers
var<workgroup> x_squares: array<f32, STAGED>;          // sum of squares before the norm's weights

fn largest_of(values: vec4f) -> f32 {
  let two = max(abs(values.xy), abs(values.zw));
  return max(two.x, two.y);
}

const FILLS_STAGES = COLUMNS == STAGES * STAGE_UNITS * UNIT;

/// Zeroes what lies behind the last column, where a stage reaches that far.
fn in_columns(values: vec4f, column: u32) -> vec4f {
  if (FILLS_STAGES) { return values; }
  return masked(values, column);
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
        low_norms[d] = norm_at(2u * chunk);
        high_norms[d] = norm_at(2u * chunk + 1u);
      }
    }
    for (var d = 0u; d < STAGE_DEPTH; d++) {
      let item = base + d * WORKGROUP_SIZE + team.index * team.size + team.lane;
      keep(team, item, first_unit, low[d], high[d], low_norms[d], high_norms[d]);
    }
  }
}

/// Quantises the eight values of one item and leaves them, the unit's scale and its sums in workgroup memory.
fn keep(team: Team, item: u32, first_unit: u32, values_low: vec4f, values_high: vec4f, norms_low: vec4f,
        norms_high: vec4f) {
  let is_item = item < 4u * STAGED;  // of none or all of a quad
  let token = item / (4u * STAGE_UNITS);
  let unit = item / 4u % STAGE_UNITS;
  let quarter = item % 4u;
  let column = (first_unit + unit) * UNIT + 8u * quarter;
  var low = in_columns(values_low, column);
  var high = in_columns(values_high, column + 4u);
  var squares = 0.0;
  if (HAS_NORM) {
    squares = quad_sum(dot(low, low) + dot(high, high), team);
    low *= in_columns(norms_low, column);
    high *= in_columns(norms_high, column + 4u);
  }
  let largest = quad_max(max(largest_of(low), largest_of(high)), team);
  let inverse = select(0.0, 127.0 / largest, largest > 0.0);
  let integers = vec2u(rounded(low, inverse), rounded(high, inverse));
  let own_sum = dot4I8Packed(integers.x, 0x01010101u) + dot4I8Packed(integers.y, 0x01010101u);
  let sum = quad_sum(f32(own_sum), team);
  if (!is_item) { return; }
  x_integers[(4u * token + quarter) * STAGE_UNITS + unit] = integers;
  if (quarter == 0u) {
    x_scales[token * STAGE_UNITS + unit] = vec2f(largest / 127.0, sum);
    if (HAS_NORM) { x_squares[token * STAGE_UNITS + unit] = squares; }
  }
}

const PIECE = ROWS * DEPTH;

/// Whether the lanes of a row read whole pieces of every stage.
const IS_EVEN = ROW_LANES > 0u && FILLS_STAGES && STAGE_UNITS % (DEPTH * max(ROW_LANES, 1u)) == 0u;

/// Behind the last unit before `end`, that one.
fn unit_at(unit: u32, end: u32) -> u32 {
  if (IS_EVEN) { return unit; }
  return min(unit, end - 1u);
}

/// What an invocation reads at a time: DEPTH units of ROWS rows.
struct Piece {
  values: array<Unit, PIECE>,
  scales: array<Scale, PIECE>,
}

/// Units `unit`, unit + lanes, … of the rows from `first` on; behind the last of a row the last again.
fn load_piece(first: u32, unit: u32, lanes: u32, end_unit: u32) -> Piece {
  var piece: Piece;
  for (var d = 0u; d < DEPTH; d++) {
    let column = unit_at(unit + d * lanes, end_unit);
    for (var r = 0u; r < ROWS; r++) {
      let at = row_at(min(first + r, row_count() - 1u)) * ROW_UNITS + column;
      piece.values[d * ROWS + r] = load_unit(at);
      piece.scales[d * ROWS + r] = load_scale(at);
    }
  }
  return piece;
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let share = share_of(team, teams);
  let sets = (row_count() + ROWS - 1u) / ROWS;
  let step = groups.x * groups.y * sets_of(teams);
  let units = (COLUMNS + UNIT - 1u) / UNIT;
  let first_token = group.z * TOKENS;
  let first_base = (group.x + group.y * groups.x) * sets_of(teams);
  // The first weights are asked for before x is quantised, so that memory is never idle.
  var piece = load_piece((first_base + share.row_set) * ROWS, share.lane, share.lanes, min(STAGE_UNITS, units));
  var is_loaded = true;
  var before = priors(share, first_token, (first_base + share.row_set) * ROWS);
  if (STAGES == 1u) {
    stage(team, 0u, first_token);
    workgroupBarrier();
  }
  for (var base = first_base; base < sets; base += step) {
    let first = (base + share.row_set) * ROWS;
    if (base != first_base) { before = priors(share, first_token, first); }
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
      // All lanes make the same trips.
      for (var trip = 0u; trip < staged; trip += DEPTH * share.lanes) {
        let unit = trip + share.lane;
        if (!is_loaded) {
          piece = load_piece(first, first_unit + unit, share.lanes, first_unit + staged);
        }
        is_loaded = false;
        for (var d = 0u; d < DEPTH; d++) {
          // No branches: what lies behind the last unit is that unit again, times 0.
          let at = unit_at(unit + d * share.lanes, staged);
          let factor = select(0.0, 1.0, IS_EVEN || unit + d * share.lanes < staged);
          for (var t = 0u; t < TOKENS; t++) {
            var integers = array<vec2u, 4>();
            for (var q = 0u; q < 4u; q++) { integers[q] = x_integers[(4u * t + q) * STAGE_UNITS + at]; }
            let scale = x_scales[t * STAGE_UNITS + at] * vec2f(factor, 1.0);
            if (HAS_NORM) { squares[t] += factor * x_squares[t * STAGE_UNITS + at]; }
            for (var r = 0u; r < ROWS; r++) {
              let i = d * ROWS + r;
              let w = piece.values[i];
              sums[t * ROWS + r] += unit_product(w, piece.scales[i], first_unit + at, integers, scale);
            }
          }
        }
      }
    }
    finish(team, share, first_token, first, &sums, &squares, before);
  }
}
