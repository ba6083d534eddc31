// Adds up the parts of a matrix product whose columns were shared out between workgroups (matmul_matrix.wgsl), and
// finishes it: value[t, first_row + r] = sum_s parts[s, t, r] (+ bias[first_row + r])
//
// Shapes: parts [SPLITS, tokens, rows] (of one row shard), bias [all rows], y as in matmul_matrix.wgsl for each OUTPUT.
// Bindings: 1 parts f32, 2 bias f32 (any buffer without HAS_BIAS), 3 y (element module).
// Dispatch: x over the shard's elements of y in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32 sums, in the order of the columns.
// Source: split K, as in Osama et al. 2023, "Stream-K".

struct Params {
  rows: u32,
  tokens: u32,
  y_stride: u32,   // in elements
  first_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Element>;

const WIDTH = select(1u, 2u, OUTPUT == OUTPUT_SWIGLU);  // rows that make one element

fn sum_of(token: u32, row: u32) -> f32 {
  var sum = 0.0;
  for (var s = 0u; s < SPLITS; s++) { sum += parts[(s * params.tokens + token) * params.rows + row]; }
  if (HAS_BIAS) { sum += bias[params.first_row + row]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x * WIDTH;
  if (row >= params.rows) { return; }
  let value = sum_of(id.y, row);
  let to = id.y * params.y_stride + (params.first_row + row) / WIDTH;
  if (OUTPUT == OUTPUT_STORE) {
    y[to] = element(value);
  } else if (OUTPUT == OUTPUT_ADD) {
    y[to] += element(value);
  } else {
    y[to] = element(silu(value) * sum_of(id.y, row + 1u));
  }
}
