// Module: teams of invocations that share rows of a matrix, through workgroup memory (devices without
// subgroups): KNOWN_TEAM neighbouring invocations each.
//
// Gives: the entry point, which calls run(team, teams of the workgroup, group, groups) of the shader; team_sum,
// team_swap, quad_max and quad_sum, which all invocations of the workgroup call, in uniform control flow. A quad is four
// neighbouring invocations. WORKGROUP_SIZE is a multiple of 32.
// Numerics: f32, pairwise tree: always the same order of additions.

const KNOWN_TEAM = 32u;
const TEAMS_HAVE_BARRIERS = true;

struct Team {
  lane: u32,   // of the invocation in its team
  size: u32,
  index: u32,  // of the team in the workgroup
}

var<workgroup> team_values: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) position: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  run(Team(position % KNOWN_TEAM, KNOWN_TEAM, position / KNOWN_TEAM), WORKGROUP_SIZE / KNOWN_TEAM, group, groups);
}

/// The place of an invocation in the workgroup.
fn position_of(team: Team) -> u32 { return team.index * KNOWN_TEAM + team.lane; }

fn publish(value: f32, team: Team) {
  workgroupBarrier();  // the previous values have been read
  team_values[position_of(team)] = value;
  workgroupBarrier();
}

fn team_sum(value: f32, team: Team) -> f32 {
  publish(value, team);
  let position = position_of(team);
  for (var half = KNOWN_TEAM / 2u; half > 0u; half /= 2u) {
    if (team.lane < half) { team_values[position] += team_values[position + half]; }
    workgroupBarrier();
  }
  return team_values[position - team.lane];
}

/// The value of the lane whose number differs by the bit `distance`.
fn team_swap(value: f32, distance: u32, team: Team) -> f32 {
  publish(value, team);
  return team_values[position_of(team) ^ distance];
}

fn quad_max(value: f32, team: Team) -> f32 {
  publish(value, team);
  let first = position_of(team) & ~3u;
  return max(max(team_values[first], team_values[first + 1u]), max(team_values[first + 2u], team_values[first + 3u]));
}

fn quad_sum(value: f32, team: Team) -> f32 {
  publish(value, team);
  let first = position_of(team) & ~3u;
  return (team_values[first] + team_values[first + 1u]) + (team_values[first + 2u] + team_values[first + 3u]);
}
