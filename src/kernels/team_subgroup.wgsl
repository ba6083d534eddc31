// Module: teams of invocations that share rows of a matrix, one team a subgroup (of any size from 4 on).
//
// Gives: the entry point, which calls run(team, teams of the workgroup, group, groups) of the shader; team_sum,
// team_swap, quad_max and quad_sum, which all invocations of the workgroup call, in uniform control flow. A quad is
// four invocations with neighbouring positions. KNOWN_TEAM, a constant, is the size of every team, or 0 where it may
// differ.
// Numerics: f32, pairwise tree; the order of additions depends on the subgroup size, not on timing.

const TEAMS_HAVE_BARRIERS = false;

struct Team {
  lane: u32,   // of the invocation in its team
  size: u32,
  index: u32,  // of the team in the workgroup
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
        @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let known = max(KNOWN_TEAM, 1u);
  let teams = select(WORKGROUP_SIZE / known, subgroups, KNOWN_TEAM == 0u);
  run(Team(lane, select(known, size, KNOWN_TEAM == 0u), subgroup), teams, group, groups);
}

/// Of subgroupAdd, compilers that cannot prove all invocations to be there make a function, for which one sum waits
/// after the other.
fn team_sum(value: f32, team: Team) -> f32 {
  if (KNOWN_TEAM == 0u) { return subgroupAdd(value); }
  var sum = value;
  for (var distance = KNOWN_TEAM / 2u; distance > 0u; distance /= 2u) { sum += subgroupShuffleXor(sum, distance); }
  return sum;
}

/// The value of the lane whose number differs by the bit `distance`.
fn team_swap(value: f32, distance: u32, team: Team) -> f32 { return subgroupShuffleXor(value, distance); }

fn quad_max(value: f32, team: Team) -> f32 {
  let two = max(value, quadSwapX(value));
  return max(two, quadSwapY(two));
}

fn quad_sum(value: f32, team: Team) -> f32 {
  let two = value + quadSwapX(value);
  return two + quadSwapY(two);
}
