// RMSNorm: y[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + epsilon) * weight[i]
//
// Shapes: x, y [rows, columns] with `stride` elements a row, weight [columns].
// Bindings: 1 weight f32, 2 x f32, 3 y (element module).
// Dispatch: one workgroup of WORKGROUP_SIZE per row (folded into x and y).
// Numerics: f32 up to the output; the sum of squares is one reduction. Padding is neither read nor written.
// Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".

struct Params {
  rows: u32,
  columns: u32,
  stride: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let base = row * params.stride;
  var squares = 0.0;
  for (var i = lanes.index; i < params.columns; i += WORKGROUP_SIZE) { squares += x[base + i] * x[base + i]; }
  let mean = workgroup_sum(squares, lanes) / f32(params.columns);
  let factor = 1.0 / sqrt(mean + params.epsilon);
  for (var i = lanes.index; i < params.columns; i += WORKGROUP_SIZE) {
    y[base + i] = element(x[base + i] * factor * weight[i]);
  }
}
