// Marks the tokens of a prompt: seen[slot, tokens[first + i]] |= 2^31 for i in [0, count).
//
// Shapes: tokens [at least first + count], seen [slots, vocab_size].
// Bindings: 1 tokens u32, 2 seen u32, updated atomically.
// Dispatch: one invocation per token, in workgroups of WORKGROUP_SIZE (folded into x and y).
// Numerics: exact, whatever the order. Ids outside the vocabulary are ignored.
// Source: the occurrences that the penalties of sampler_logits.wgsl ask for; the lower bits count generated tokens.

struct Params {
  vocab_size: u32,
  first: u32,
  count: u32,
  slot: u32,
}

const IN_PROMPT = 0x80000000u;

@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> seen: array<atomic<u32>>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let i = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  if (i >= params.count) { return; }
  let token = tokens[params.first + i];
  if (token < params.vocab_size) { atomicOr(&seen[params.slot * params.vocab_size + token], IN_PROMPT); }
}
