// RMSNorm: y[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + epsilon) * weight[i]
//
// Shapes: x, y [rows, columns] with `stride` vec4s a row, weight [columns].
// Bindings: 1 weight f32 as vec4, 2 x f32 as vec4, 3 y as vec4 (element module).
// Dispatch: one workgroup of WORKGROUP_SIZE per row (folded into x and y).
// Numerics: f32 up to the output; the sum of squares is one reduction. Padding is not used; the vec4 with the last
// column is written whole.
// Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".

struct Params {
  rows: u32,
  columns: u32,
  stride: u32,
  epsilon: f32,
}

@group(0) @binding(1) var<storage, read> weight: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Element>>;

/// Four elements; those past the last column count as 0.
fn masked(values: vec4f, at: u32) -> vec4f {
  return select(vec4f(0.0), values, vec4u(0u, 1u, 2u, 3u) + 4u * at < vec4u(params.columns));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let base = row * params.stride;
  let count = (params.columns + 3u) / 4u;
  var squares = 0.0;
  for (var i = lanes.index; i < count; i += WORKGROUP_SIZE) {
    let values = masked(x[base + i], i);
    squares += dot(values, values);
  }
  let mean = workgroup_sum(squares, lanes) / f32(params.columns);
  let factor = 1.0 / sqrt(mean + params.epsilon);
  for (var i = lanes.index; i < count; i += WORKGROUP_SIZE) {
    let value = masked(x[base + i], i) * factor * masked(weight[i], i);
    y[base + i] = vec4<Element>(element(value.x), element(value.y), element(value.z), element(value.w));
  }
}
