// The first stage of greedy sampling for long rows: the best token of each slice of a row (argmax_join.wgsl makes
// the row's of them).
//
// Shapes: those of sampler_logits.wgsl; slices [rows, number of slices] of pairs.
// Bindings: 1 logits, 2 rows, 3 seen, as in sampler_logits.wgsl, 4 slices vec2u (key, ~token).
// Dispatch: workgroups of WORKGROUP_SIZE; x: slices of SLICE logits, any number of workgroups; rows folded into y
// and z.
// Numerics: exact; logits are compared as integers. NaN and infinity are better than every number.
// Source: greedy decoding; the penalty's source is in sampler_logits.wgsl.

@group(0) @binding(4) var<storage, read_write> slices: array<vec2u>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let index = group.y + group.z * groups.y;
  if (index >= params.rows) { return; }
  for (var slice = group.x; slice < params.slices; slice += groups.x) {
    let own = own_highest(rows[index], lane, slice * SLICE, min((slice + 1u) * SLICE, params.vocab_size));
    let best = workgroup_best(own, lane);
    if (lane == 0u) { slices[index * params.slices + slice] = best; }
  }
}
