// Module: parts of a workgroup, LANES invocations each (a power of two), which subgroups of at least LANES hold.
//
// Gives: the entry point, which calls run(part, group) of the shader; part_sum4 and part_max, which all invocations of
// the workgroup call, in uniform control flow.
// Numerics: f32, pairwise tree: always the same order of additions, and the same sum for every lane.

struct Part {
  lane: u32,   // of the invocation in its part
  index: u32,  // of the part in the workgroup
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32,
        @builtin(subgroup_id) subgroup: u32, @builtin(workgroup_id) group: vec3u) {
  run(Part(lane % LANES, (subgroup * size + lane) / LANES), group);
}

fn part_sum4(value: vec4f, part: Part) -> vec4f {
  var sum = value;
  for (var distance = LANES / 2u; distance > 0u; distance /= 2u) { sum += subgroupShuffleXor(sum, distance); }
  return sum;
}

fn part_max(value: f32, part: Part) -> f32 {
  var largest = value;
  for (var distance = LANES / 2u; distance > 0u; distance /= 2u) {
    largest = max(largest, subgroupShuffleXor(largest, distance));
  }
  return largest;
}
