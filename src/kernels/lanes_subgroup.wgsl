// Module: reductions over a workgroup, through subgroups of any size.
//
// Gives: Lanes (the builtins of an invocation), workgroup_sum4, workgroup_sum, workgroup_max. Every invocation
// of the workgroup calls with its own value, in uniform control flow, and gets the result. Works for any
// subgroup size (4 to 128), also one larger than the workgroup.
// Numerics: f32; the order of additions depends on the subgroup size, not on timing.

struct Lanes {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
}

var<workgroup> lane_partials: array<vec4f, WORKGROUP_SIZE>;

fn workgroup_sum4(value: vec4f, lanes: Lanes) -> vec4f {
  let partial = subgroupAdd(value);
  workgroupBarrier();  // the previous reduction has been read
  if (lanes.lane == 0u) { lane_partials[lanes.subgroup] = partial; }
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var s = 0u; s < lanes.subgroups; s++) { total += lane_partials[s]; }
  return total;
}

fn workgroup_sum(value: f32, lanes: Lanes) -> f32 { return workgroup_sum4(vec4f(value, 0.0, 0.0, 0.0), lanes).x; }

fn workgroup_max4(value: vec4f, lanes: Lanes) -> vec4f {
  let partial = subgroupMax(value);
  workgroupBarrier();
  if (lanes.lane == 0u) { lane_partials[lanes.subgroup] = partial; }
  workgroupBarrier();
  var largest = lane_partials[0];
  for (var s = 1u; s < lanes.subgroups; s++) { largest = max(largest, lane_partials[s]); }
  return largest;
}

fn workgroup_max(value: f32, lanes: Lanes) -> f32 { return workgroup_max4(vec4f(value), lanes).x; }
