// Module: reductions over a workgroup, through workgroup memory alone (devices without subgroups).
//
// Gives: Lanes (the builtins of an invocation), workgroup_sum4, workgroup_sum, workgroup_max. Every invocation
// of the workgroup calls with its own value, in uniform control flow, and gets the result. WORKGROUP_SIZE
// is a power of two.
// Numerics: f32, pairwise tree: always the same order of additions.

struct Lanes {
  @builtin(local_invocation_index) index: u32,
}

var<workgroup> lane_partials: array<vec4f, WORKGROUP_SIZE>;

fn workgroup_sum4(value: vec4f, lanes: Lanes) -> vec4f {
  workgroupBarrier();  // the previous reduction has been read
  lane_partials[lanes.index] = value;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lanes.index < half) { lane_partials[lanes.index] += lane_partials[lanes.index + half]; }
    workgroupBarrier();
  }
  return lane_partials[0];
}

fn workgroup_sum(value: f32, lanes: Lanes) -> f32 { return workgroup_sum4(vec4f(value, 0.0, 0.0, 0.0), lanes).x; }

fn workgroup_max4(value: vec4f, lanes: Lanes) -> vec4f {
  workgroupBarrier();
  lane_partials[lanes.index] = value;
  workgroupBarrier();
  for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
    if (lanes.index < half) {
      lane_partials[lanes.index] = max(lane_partials[lanes.index], lane_partials[lanes.index + half]);
    }
    workgroupBarrier();
  }
  return lane_partials[0];
}

fn workgroup_max(value: f32, lanes: Lanes) -> f32 { return workgroup_max4(vec4f(value), lanes).x; }
