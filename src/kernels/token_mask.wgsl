// Token mask: the logits of tokens that may not come next become the lowest there are, so that none of them is drawn.
//
//   logits[rows[m], token] = bit token of masks[m] is set ? as it is : LOWEST
//
// Shapes: masks [count, ceil(vocab_size / 32)]: bit t % 32 of word t / 32 is token t's; rows [count], each another one;
// logits [any, vocab_size] with `stride` elements a row.
// Bindings: 1 masks u32, 2 rows u32, 3 logits, the bits of f32, as u32.
// Dispatch: one invocation per token in x, in workgroups of WORKGROUP_SIZE; one workgroup per mask in y.
// Numerics: exact. LOWEST is -1e30: finite, so that sampling by temperature and penalties keeps it finite. NaN and
// infinity stay, so that the sampler still tells of them. Padding is not used.
// Source: grammar-constrained decoding as in Willard & Louf 2023, "Efficient Guided Generation for LLMs".

struct Params {
  vocab_size: u32,
  stride: u32,
  words: u32,  // of a mask
  pad0: u32,
}

@group(0) @binding(1) var<storage, read> masks: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> logits: array<u32>;

const LOWEST = bitcast<u32>(-1e30f);

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let token = group.x * WORKGROUP_SIZE + lane;
  if (token >= params.vocab_size) { return; }
  let word = masks[group.y * params.words + token / 32u];
  if (((word >> (token % 32u)) & 1u) != 0u) { return; }
  let at = rows[group.y] * params.stride + token;
  let is_finite = (logits[at] & 0x7f800000u) != 0x7f800000u;
  if (is_finite) { logits[at] = LOWEST; }
}
