// Rotary position embedding, in place on queries and keys:
//   x'[i]        = x[i] * cos[t, i] - x[i + half] * sin[t, i]
//   x'[i + half] = x[i + half] * cos[t, i] + x[i] * sin[t, i]        for i < half = head_dim / 2
//
// Shapes: x holds [tokens, heads, head_dim] at the begin of each row of `stride` elements (queries, then
// keys: heads counts both); cos_sin [tokens, half] of (cos, sin).
// Bindings: 1 cos_sin vec2f, 2 x f32, read and written.
// Dispatch: x over heads * half in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32; angles, their scaling and cos/sin are computed on the CPU in f64, since WGSL leaves the
// accuracy of cos and sin open for large arguments.
// Source: Su et al. 2021, "RoFormer"; halves paired as in Llama's Hugging Face checkpoints.

struct Params {
  heads: u32,
  half: u32,
  stride: u32,
  pad0: u32,
}

@group(0) @binding(1) var<storage, read> cos_sin: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * params.half) { return; }
  let i = id.x % params.half;
  let low = id.y * params.stride + id.x / params.half * 2u * params.half + i;
  let high = low + params.half;
  let turn = cos_sin[id.y * params.half + i];
  let a = x[low];
  let b = x[high];
  x[low] = a * turn.x - b * turn.y;
  x[high] = b * turn.x + a * turn.y;
}
