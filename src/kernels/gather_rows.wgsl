// Row gather: y[r, :] = x[rows[r], :]; picks the tokens whose logits are wanted.
//
// Shapes: x [tokens, columns], rows [count], y [count, columns]; x and y have `stride` elements a row.
// Bindings: 1 x f32, 2 rows u32, 3 y f32.
// Dispatch: x over columns in groups of WORKGROUP_SIZE, y = row of y.
// Numerics: a copy, exact. Padding is not written.
// Source: indexing alone; of a prompt only the last token's logits are needed.

struct Params {
  columns: u32,
  stride: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.columns) { return; }
  y[id.y * params.stride + id.x] = x[rows[id.y] * params.stride + id.x];
}
