// Module: what the matrix-vector kernels have in common (matvec.wgsl, matvec_kept.wgsl, matvec_rows.wgsl,
// matvec_blocks.wgsl). Needs a team module, a norm module and matvec_output.
//
// Gives: the binding 3, X_STRIDE and masked; loop_end; ROW_LANES; share_of (which rows an invocation works on) and
// finish, which adds up the sums of a row's teams and puts the values; priors, what that takes, asked for before.
// Shapes: x [tokens, columns].
// Numerics: f32; the order of additions depends on the size of a team, not on timing.

@group(0) @binding(3) var<storage, read> x: array<vec4f>;

const X_STRIDE = (COLUMNS + 7u) / 8u * 2u;  // of a row of x, in vec4s

/// Zeroes the components whose column is not below the number of columns.
fn masked(values: vec4f, first_column: u32) -> vec4f {
  return select(vec4f(0.0), values, vec4u(0u, 1u, 2u, 3u) + first_column < vec4u(COLUMNS));
}

/// The end of a loop of team_sum or the like: where these have barriers it is one that compilers cannot know, as some
/// take minutes over many barriers in a row.
fn loop_end(count: u32) -> u32 { return select(count, min(count, arrayLength(&y)), TEAMS_HAVE_BARRIERS); }

/// The lanes that share rows (Share), where they are known when the kernel is built and no team is left over; else 0.
/// Compilers then know the trips of a loop over a row.
const ROW_LANES = select(0u, SPLIT * KNOWN_TEAM, WORKGROUP_SIZE % max(SPLIT * KNOWN_TEAM, 1u) == 0u);

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

const TEAM_SUMS = OUTPUTS + TOKENS;                            // of a team: the rows' sums, the squares
var<workgroup> team_sums: array<f32, TEAM_SUMS * (WORKGROUP_SIZE / 4u)>;  // no team has fewer than 4 lanes

/// What `put` gets of ROWS rows for TOKENS tokens, for the one lane that puts them.
fn priors(share: Share, first_token: u32, first: u32) -> array<Prior, OUTPUTS> {
  var all = array<Prior, OUTPUTS>();
  if (!HAS_PRIOR || share.lane != 0u) { return all; }
  for (var t = 0u; t < TOKENS; t++) {
    for (var r = 0u; r < ROWS; r += WIDTH) { all[t * ROWS + r] = prior(first_token + t, first + r); }
  }
  return all;
}

/// Adds up the lanes' sums of ROWS rows for TOKENS tokens, applies the norm's factor, and puts the values.
fn finish(team: Team, share: Share, first_token: u32, first: u32, sums: ptr<function, array<f32, OUTPUTS>>,
          squares: ptr<function, array<f32, TOKENS>>, before: array<Prior, OUTPUTS>) {
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
