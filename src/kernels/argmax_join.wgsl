// The second stage of greedy sampling for long rows: the best of the slices' best tokens (argmax_slices.wgsl).
//
// Shapes: slices [rows, number of slices] of pairs, the others as in sampler_logits.wgsl.
// Bindings: 1 slices vec2u (key, ~token), 2 rows, 3 seen, 4 tokens, 5 results, as in sampler_logits.wgsl.
// Dispatch: one workgroup of WORKGROUP_SIZE per row (folded into x and y).
// Numerics: exact; as argmax.wgsl, the lowest token among equals, NaN or infinity give STATUS_NOT_FINITE.
// Source: greedy decoding.

@group(0) @binding(1) var<storage, read> slices: array<vec2u>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let index = group.x + group.y * groups.x;
  if (index >= params.rows) { return; }
  var own = vec2u(0u);
  for (var i = lane; i < params.slices; i += WORKGROUP_SIZE) {
    let candidate = slices[index * params.slices + i];
    if (is_better(candidate, own)) { own = candidate; }
  }
  let best = workgroup_best(own, lane);
  if (lane == 0u) { finish(index, rows[index], best); }
}
