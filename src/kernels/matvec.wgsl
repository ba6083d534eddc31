// Matrix-vector product: y[t, first_row + r] = sum_k W[r, k] * x[t, k] (+ bias[first_row + r])
// For one or a few tokens (decode): the time is that of reading W once per token.
//
// Shapes: W [rows, columns] (one row shard), x [tokens, columns], y [tokens, all rows], bias [all rows].
// Bindings: 1 W (weight module), 2 x f32 as vec4, 3 bias f32 (any buffer without HAS_BIAS), 4 y f32.
// Dispatch: one workgroup of WORKGROUP_SIZE per 4 rows (folded into x and y), z = token. All invocations
// share the 4 rows, each reading every WORKGROUP_SIZE-th chunk of 8 columns of them.
// Numerics: decoded to f32, f32 sums. Columns past the last are masked on both sides, so padding may
// hold NaN.
// Source: the linear layers of Vaswani et al. 2017; biases as in Qwen2.

struct Params {
  rows: u32,
  columns: u32,
  x_stride: u32,  // in vec4s
  y_stride: u32,  // in elements
  first_row: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const ROWS = 4u;

/// Zeroes the components whose column is not below the number of columns.
fn masked(values: vec4f, first_column: u32) -> vec4f {
  return select(vec4f(0.0), values, vec4u(0u, 1u, 2u, 3u) + first_column < vec4u(params.columns));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let first = (group.x + group.y * groups.x) * ROWS;
  if (first >= params.rows) { return; }
  let chunks = (params.columns + 7u) / 8u;
  let x_base = group.z * params.x_stride;
  var sums = vec4f(0.0);
  for (var chunk = lanes.index; chunk < chunks; chunk += WORKGROUP_SIZE) {
    var low = x[x_base + 2u * chunk];
    var high = x[x_base + 2u * chunk + 1u];
    let is_partial = chunk * 8u + 8u > params.columns;
    if (is_partial) {
      low = masked(low, chunk * 8u);
      high = masked(high, chunk * 8u + 4u);
    }
    for (var r = 0u; r < ROWS; r++) {
      var w = load_chunk(min(first + r, params.rows - 1u) * chunks + chunk);
      if (is_partial) {
        w.low = masked(w.low, chunk * 8u);
        w.high = masked(w.high, chunk * 8u + 4u);
      }
      sums[r] += dot(w.low, low) + dot(w.high, high);
    }
  }
  let totals = workgroup_sum4(sums, lanes);
  let row = first + lanes.index;
  if (lanes.index < ROWS && row < params.rows) {
    var value = totals[lanes.index];
    if (HAS_BIAS) { value += bias[params.first_row + row]; }
    y[group.z * params.y_stride + params.first_row + row] = value;
  }
}
