// Residual connection: y[r, i] += x[r, i]
//
// Shapes: x, y [rows, columns] with `stride` elements a row.
// Bindings: 1 x f32, 2 y f32, read and written.
// Dispatch: x over columns in groups of WORKGROUP_SIZE, y = row.
// Numerics: f32. Padding is not touched.
// Source: He et al. 2015, "Deep Residual Learning".

struct Params {
  columns: u32,
  stride: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.columns) { return; }
  let at = id.y * params.stride + id.x;
  y[at] = y[at] + x[at];
}
