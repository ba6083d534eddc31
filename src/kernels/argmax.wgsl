// Greedy sampling: the token with the highest penalised logit, the lowest token among equals.
//
// Shapes: those of sampler_logits.wgsl.
// Bindings: 1 logits, 2 rows, 3 seen, 4 tokens, 5 results, as in sampler_logits.wgsl.
// Dispatch: one workgroup of WORKGROUP_SIZE per row (folded into x and y).
// Numerics: exact; logits are compared as integers. Any NaN or infinity among a row's logits gives
// token 0 with STATUS_NOT_FINITE. Padding is not used.
// Source: greedy decoding; the penalty's source is in sampler_logits.wgsl.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let index = group.x + group.y * groups.x;
  if (index >= params.rows) { return; }
  let row = rows[index];
  let best = workgroup_best(own_highest(row, lane, 0u, params.vocab_size), lane);
  if (lane == 0u) { finish(index, row, best); }
}
