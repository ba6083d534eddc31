// Matrix-vector products with float weights that keep x in registers: the same values as matvec.wgsl.
//
// Shapes: those of matvec_output.wgsl; its put module says what becomes of the values.
// Bindings: 1 W, 3 x f32 as vec4, 4 bias f32 (bias module), 5 norm f32 as vec4 (norm module), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE: sets of LANES invocations, a multiple of the subgroups' size. A lane has the
// same DEPTH chunks of 8 columns of every row and so needs its part of x, for TOKENS tokens, only once; then it reads
// ROWS rows after ROWS rows, always asking for the next before it works on those that have come. x and y: row sets,
// any number of workgroups; z: tokens, TOKENS at a time.
// Numerics: decoded to f32, f32 sums. The norm's factor is applied to the finished sum, which is the same number.
// Columns past the last are masked on both sides, so padding may hold NaN.
// For one or a few tokens (decode): the time is that of reading W once per TOKENS tokens.
// Source: matvec.wgsl.

const CHUNKS = (COLUMNS + 7u) / 8u;     // of a row
const SETS = WORKGROUP_SIZE / LANES;
const MAX_TEAMS = WORKGROUP_SIZE / 4u;  // no team has fewer than 4 lanes

// Of each team: sums of the rows, twice, so that one barrier is enough between a set of rows and the next; and squares.
var<workgroup> partials: array<f32, 2u * OUTPUTS * MAX_TEAMS>;
var<workgroup> partial_squares: array<f32, TOKENS * MAX_TEAMS>;

/// What a lane reads of ROWS rows, as it is stored.
struct Pieces { items: array<Raw, ROWS * DEPTH> }

fn chunk_of(lane: u32, d: u32) -> u32 { return min(lane + d * LANES, CHUNKS - 1u); }

/// A lane's chunks of the rows from `first` on; behind the last row the last again.
fn load_rows(first: u32, lane: u32) -> Pieces {
  var pieces: Pieces;
  for (var d = 0u; d < DEPTH; d++) {
    for (var r = 0u; r < ROWS; r++) {
      pieces.items[d * ROWS + r] = load_raw(row_at(min(first + r, row_count() - 1u)) * row_chunks(COLUMNS) + chunk_of(lane, d));
    }
  }
  return pieces;
}

fn product(kept: Eight, weights: Raw, chunk: u32) -> f32 {
  var values = decoded(weights);
  if (is_partial_chunk(chunk)) { values = masked_chunk(values, chunk * 8u); }
  return dot(kept.low, values.low) + dot(kept.high, values.high);
}

/// The sum of what the teams of a set have left at `first`, first + 1, ….
fn sum_of_teams(first: u32, teams: u32) -> f32 {
  var sum = 0.0;
  for (var t = 0u; t < teams; t++) { sum += partials[first + t]; }
  return sum;
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let position = team.index * team.size + team.lane;
  let lane = position % LANES;
  let set_teams = LANES / team.size;
  let first_team = position / LANES * set_teams;
  let first_token = group.z * TOKENS;
  let step = groups.x * groups.y * SETS;
  let begin = (group.x + group.y * groups.x) * SETS;
  let sets = (row_count() + ROWS - 1u) / ROWS;
  var next = load_rows((begin + position / LANES) * ROWS, lane);

  var kept = array<Eight, TOKENS * DEPTH>();
  var factors = array<f32, TOKENS>();
  for (var t = 0u; t < TOKENS; t++) {
    for (var d = 0u; d < DEPTH; d++) {
      // What lies behind the last chunk is nothing.
      if (lane + d * LANES < CHUNKS) { kept[t * DEPTH + d] = load_x(first_token + t, lane + d * LANES, &factors[t]); }
    }
  }
  if (HAS_NORM) {
    for (var t = 0u; t < loop_end(TOKENS); t++) {
      let squares = team_sum(factors[t], team);
      if (team.lane == 0u) { partial_squares[t * MAX_TEAMS + team.index] = squares; }
    }
    workgroupBarrier();
    for (var t = 0u; t < TOKENS; t++) {
      var squares = 0.0;
      for (var i = 0u; i < set_teams; i++) { squares += partial_squares[t * MAX_TEAMS + first_team + i]; }
      factors[t] = 1.0 / sqrt(squares / f32(COLUMNS) + params.epsilon);
    }
  }

  var buffer = 0u;
  for (var base = begin; base < sets; base += step) {
    let pieces = next;
    if (base + step < sets) { next = load_rows((base + step + position / LANES) * ROWS, lane); }
    let first_row = (base + position / LANES) * ROWS;
    let before = priors_of(lane, first_token, first_row);
    var sums = array<f32, OUTPUTS>();
    for (var t = 0u; t < TOKENS; t++) {
      for (var d = 0u; d < DEPTH; d++) {
        for (var r = 0u; r < ROWS; r++) {
          sums[t * ROWS + r] += product(kept[t * DEPTH + d], pieces.items[d * ROWS + r], chunk_of(lane, d));
        }
      }
    }
    for (var i = 0u; i < loop_end(OUTPUTS); i++) {
      let sum = team_sum(sums[i], team);
      if (team.lane == 0u) { partials[buffer + i * MAX_TEAMS + team.index] = sum; }
    }
    workgroupBarrier();
    put_rows(buffer + first_team, set_teams, lane, first_token, first_row, &factors, before);
    buffer = OUTPUTS * MAX_TEAMS - buffer;
  }
}

/// What `put` gets from lane `lane` for each token.
fn priors_of(lane: u32, first_token: u32, first_row: u32) -> array<Prior, TOKENS> {
  var all = array<Prior, TOKENS>();
  if (!HAS_PRIOR || lane * WIDTH >= ROWS) { return all; }
  for (var t = 0u; t < TOKENS; t++) { all[t] = prior(first_token + t, first_row + lane * WIDTH); }
  return all;
}

/// Finishes ROWS rows for TOKENS tokens, a lane for each WIDTH of them.
fn put_rows(first: u32, set_teams: u32, lane: u32, first_token: u32, first_row: u32,
            factors: ptr<function, array<f32, TOKENS>>, before: array<Prior, TOKENS>) {
  let r = lane * WIDTH;
  if (r >= ROWS) { return; }
  for (var t = 0u; t < TOKENS; t++) {
    var factor = 1.0;
    if (HAS_NORM) { factor = (*factors)[t]; }
    let at = first + (t * ROWS + r) * MAX_TEAMS;
    var following = 0.0;
    if (WIDTH == 2u) { following = factor * sum_of_teams(at + MAX_TEAMS, set_teams); }
    put(first_token + t, first_row + r, factor * sum_of_teams(at, set_teams), following, before[t]);
  }
}
