// Adds tokens to what is known of a sequence, in its own row of `seen` or in that of a draft that continues it:
//   seen[to_row, t] = seen[from_row, t] + how often t is among tokens[first, first + count)
//
// Shapes: lists [as many as are dispatched], tokens [any], seen [slots, vocab_size].
// Bindings: 1 lists, 2 tokens u32, 3 seen u32.
// Dispatch: one invocation per token in x, in workgroups of WORKGROUP_SIZE; one workgroup per list in y.
// Numerics: exact. No row of seen is written twice in a dispatch, nor read where another list writes it.
// Source: the occurrences that the penalties of sampler_logits.wgsl ask for; tokens that are drafted count for what is
// drawn behind them.

struct Params {
  vocab_size: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

struct List {
  from_row: u32,
  to_row: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(1) var<storage, read> lists: array<List>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let token = group.x * WORKGROUP_SIZE + lane;
  if (token >= params.vocab_size) { return; }
  let list = lists[group.y];
  var word = seen[list.from_row * params.vocab_size + token];
  for (var i = 0u; i < list.count; i++) { word += u32(tokens[list.first + i] == token); }
  seen[list.to_row * params.vocab_size + token] = word;
}
