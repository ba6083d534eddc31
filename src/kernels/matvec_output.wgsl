// Module: what the matrix-vector kernels do with a finished sum (matvec.wgsl, matvec_blocks.wgsl): bias,
// then one of three ends. Also the parameters and bindings that both share.
//
// Gives: params and the bindings 3 to 6, masked, share_of (which rows an invocation works on) and finish, which adds
// up the sums of a row's teams and puts the values; residuals, what it adds them to, asked for before.
// Shapes: W [rows, columns] (one row shard), x [tokens, columns], norm [columns], bias [all rows], y:
//   OUTPUT_STORE   y[t, r] = value                        [tokens, all rows]
//   OUTPUT_ADD     y[t, r] += value (the residual)        [tokens, all rows]
//   OUTPUT_SWIGLU  y[t, r / 2] = silu(value of row r) * value of row r + 1, for even r; gate and up rows
//                  alternate                              [tokens, all rows / 2]
// Numerics: f32; gates below -80 give 0.
// Source: He et al. 2015 (residual), Shazeer 2020 (SwiGLU).

// Shapes that are known when the pipeline is built are constants: COLUMNS, and ROW_COUNT where it is not 0. So the
// weights' addresses need not wait for the parameters.

struct Params {
  rows: u32,
  tokens: u32,
  y_stride: u32,   // in elements
  first_row: u32,
  epsilon: f32,    // of the norm
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> norm: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

/// The end of a loop of team_sum or the like: where these have barriers it is one that compilers cannot know, as some
/// take minutes over many barriers in a row.
fn loop_end(count: u32) -> u32 { return select(count, min(count, arrayLength(&y)), TEAMS_HAVE_BARRIERS); }

const X_STRIDE = (COLUMNS + 7u) / 8u * 2u;  // of a row of x, in vec4s

fn row_count() -> u32 { return select(ROW_COUNT, params.rows, ROW_COUNT == 0u); }

/// Zeroes the components whose column is not below the number of columns.
fn masked(values: vec4f, first_column: u32) -> vec4f {
  return select(vec4f(0.0), values, vec4u(0u, 1u, 2u, 3u) + first_column < vec4u(COLUMNS));
}

fn biased(row: u32, value: f32) -> f32 {
  if (HAS_BIAS) { return value + bias[params.first_row + row]; }
  return value;
}

/// What a finished row is added to, to be asked for before the sum is known. Past the last row, of the last.
fn residual(token: u32, row: u32) -> f32 {
  if (OUTPUT != OUTPUT_ADD) { return 0.0; }
  return y[min(token, params.tokens - 1u) * params.y_stride + params.first_row + min(row, row_count() - 1u)];
}

/// Finishes row `row` of the shard; `next` is the value of the row after it, for OUTPUT_SWIGLU, and `before` its
/// residual.
fn put(token: u32, row: u32, value: f32, next: f32, before: f32) {
  if (token >= params.tokens || row >= row_count()) { return; }
  let at = token * params.y_stride + params.first_row + row;
  if (OUTPUT == OUTPUT_STORE) {
    y[at] = biased(row, value);
  } else if (OUTPUT == OUTPUT_ADD) {
    y[at] = before + biased(row, value);
  } else if (row % 2u == 0u) {
    y[token * params.y_stride + (params.first_row + row) / 2u] = silu(biased(row, value)) * biased(row + 1u, next);
  }
}

/// Row sets that a workgroup of so many teams makes at a time.
fn sets_of(teams: u32) -> u32 { return teams / min(SPLIT, teams); }

/// What an invocation works on: pieces lane, lane + lanes, … of the rows of one of the workgroup's sets.
struct Share {
  row_set: u32,
  lane: u32,    // past every piece where this team is left over
  lanes: u32,   // of the teams that share the set
  split: u32,   // those teams
}

fn share_of(team: Team, teams: u32) -> Share {
  let split = min(SPLIT, teams);
  let row_set = team.index / split;
  let lane = select(team.index % split * team.size + team.lane, 0x7fffffffu, row_set >= teams / split);
  return Share(row_set, lane, split * team.size, split);
}

const OUTPUTS = ROWS * TOKENS;
const TEAM_SUMS = OUTPUTS + TOKENS;                            // of a team: the rows' sums, the squares
var<workgroup> team_sums: array<f32, TEAM_SUMS * (WORKGROUP_SIZE / 4u)>;  // no team has fewer than 4 lanes

/// The residuals of ROWS rows for TOKENS tokens, for the one lane that puts them.
fn residuals(share: Share, first_token: u32, first: u32) -> array<f32, OUTPUTS> {
  var values = array<f32, OUTPUTS>();
  if (OUTPUT != OUTPUT_ADD || share.lane != 0u) { return values; }
  for (var t = 0u; t < TOKENS; t++) {
    for (var r = 0u; r < ROWS; r++) { values[t * ROWS + r] = residual(first_token + t, first + r); }
  }
  return values;
}

/// Adds up the lanes' sums of ROWS rows for TOKENS tokens, applies the norm's factor, and puts the values.
fn finish(team: Team, share: Share, first_token: u32, first: u32, sums: ptr<function, array<f32, OUTPUTS>>,
          squares: ptr<function, array<f32, TOKENS>>, before: array<f32, OUTPUTS>) {
  for (var i = 0u; i < loop_end(OUTPUTS); i++) { (*sums)[i] = team_sum((*sums)[i], team); }
  if (HAS_NORM) {
    for (var t = 0u; t < loop_end(TOKENS); t++) { (*squares)[t] = team_sum((*squares)[t], team); }
  }
  if (SPLIT > 1u) {
    workgroupBarrier();  // the sums of the rows before have been used
    if (team.lane == 0u) {
      for (var i = 0u; i < OUTPUTS; i++) { team_sums[team.index * TEAM_SUMS + i] = (*sums)[i]; }
      for (var t = 0u; t < TOKENS; t++) { team_sums[team.index * TEAM_SUMS + OUTPUTS + t] = (*squares)[t]; }
    }
    workgroupBarrier();
  }
  if (share.lane != 0u) { return; }
  if (SPLIT > 1u) {
    for (var other = team.index + 1u; other < team.index + share.split; other++) {
      for (var i = 0u; i < OUTPUTS; i++) { (*sums)[i] += team_sums[other * TEAM_SUMS + i]; }
      for (var t = 0u; t < TOKENS; t++) { (*squares)[t] += team_sums[other * TEAM_SUMS + OUTPUTS + t]; }
    }
  }
  for (var t = 0u; t < TOKENS; t++) {
    var factor = 1.0;
    if (HAS_NORM) { factor = 1.0 / sqrt((*squares)[t] / f32(COLUMNS) + params.epsilon); }
    for (var r = 0u; r < ROWS; r++) {
      put(first_token + t, first + r, factor * (*sums)[t * ROWS + r],
          factor * (*sums)[t * ROWS + min(r + 1u, ROWS - 1u)], before[t * ROWS + r]);
    }
  }
}
