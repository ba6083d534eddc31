// Module: parts of a workgroup, LANES neighbouring invocations each (a power of two), through workgroup memory.
//
// Gives: the entry point, which calls run(part, group) of the shader; part_sum4 and part_max, which all invocations of
// the workgroup call, in uniform control flow.
// Numerics: f32, pairwise tree: always the same order of additions, and the same sum for every lane.

struct Part {
  lane: u32,   // of the invocation in its part
  index: u32,  // of the part in the workgroup
}

var<workgroup> part_values: array<vec4f, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) position: u32, @builtin(workgroup_id) group: vec3u) {
  run(Part(position % LANES, position / LANES), group);
}

fn part_sum4(value: vec4f, part: Part) -> vec4f {
  let position = part.index * LANES + part.lane;
  workgroupBarrier();  // the previous values have been read
  part_values[position] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (part.lane < half) { part_values[position] += part_values[position + half]; }
    workgroupBarrier();
  }
  return part_values[position - part.lane];
}

fn part_max(value: f32, part: Part) -> f32 {
  let position = part.index * LANES + part.lane;
  workgroupBarrier();  // the previous values have been read
  part_values[position].x = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (part.lane < half) { part_values[position].x = max(part_values[position].x, part_values[position + half].x); }
    workgroupBarrier();
  }
  return part_values[position - part.lane].x;
}
