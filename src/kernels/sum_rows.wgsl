// Sum of rows: y[row, :] = (begins ? 0 : y[row, :]) + the sum of x[t, :] over t in [0, tokens); pools the hidden states
// of a text for its embedding, chunk after chunk.
//
// Shapes: x [tokens, columns], y [any, columns]; x and y have `stride` elements a row.
// Bindings: 1 x f32, 2 y f32.
// Dispatch: one invocation per column, in workgroups of WORKGROUP_SIZE.
// Numerics: f32, one token after the other. Padding and other rows are not written.
// Source: mean pooling, Reimers & Gurevych 2019, "Sentence-BERT" (the division is left to who reads the sum).

struct Params {
  columns: u32,
  stride: u32,
  tokens: u32,
  row: u32,
  begins: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.columns) { return; }
  let at = params.row * params.stride + id.x;
  var sum = 0.0;
  if (params.begins == 0u) { sum = y[at]; }
  for (var t = 0u; t < params.tokens; t++) { sum += x[t * params.stride + id.x]; }
  y[at] = sum;
}
