// Logit bias: logits[entries[i].at] += entries[i].value, before anything else is done with them.
//
// Shapes: entries [count], each of an element of its own; logits [any, vocab_size], with padded rows.
// Bindings: 1 entries Entry, 2 logits f32.
// Dispatch: one invocation per entry, in workgroups of WORKGROUP_SIZE (folded into x and y).
// Numerics: one addition; a finite logit stays finite, as values are 100 at most.
// Source: "logit_bias" of OpenAI's API reference.

struct Params {
  count: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

struct Entry {
  at: u32,  // row * stride + token
  value: f32,
}

@group(0) @binding(1) var<storage, read> entries: array<Entry>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let i = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  if (i >= params.count) { return; }
  let entry = entries[i];
  logits[entry.at] += entry.value;
}
