// SwiGLU: y[t, i] = silu(gate[t, i]) * up[t, i], silu(g) = g / (1 + exp(-g))
//
// Shapes: gate_up [tokens, size, 2]: gate and up alternate in each row of `x_stride` pairs; y [tokens, size] in
// rows of `y_stride` elements.
// Bindings: 1 gate_up f32 pairs, 2 y f32.
// Dispatch: x over size in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32; gates below -80 give 0. Padding is neither read nor written.
// Source: Shazeer 2020, "GLU Variants Improve Transformer".

struct Params {
  size: u32,
  x_stride: u32,
  y_stride: u32,
  pad0: u32,
}

@group(0) @binding(1) var<storage, read> gate_up: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.size) { return; }
  let pair = gate_up[id.y * params.x_stride + id.x];
  let gate = pair.x;
  // Below -80 silu is 0 to within f32; the bound keeps exp finite. NaN stays NaN.
  let silu = select(gate / (1.0 + exp(-gate)), 0.0, gate < -80.0);
  y[id.y * params.y_stride + id.x] = silu * pair.y;
}
