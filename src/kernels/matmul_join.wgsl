// Adds up the parts of a matrix product whose columns were shared out between workgroups (matmul_matrix.wgsl), and
// finishes it: value[t, first_row + r] = sum_s parts[s, t, r] (+ bias[first_row + r])
//
// Shapes: parts [SPLITS, tokens, rows] (of one row shard), bias [all rows], y as in matmul_matrix.wgsl for each OUTPUT.
// Bindings: 1 parts f32, 2 bias f32 (any buffer without HAS_BIAS), 3 y (element module).
// Dispatch: x over the shard's elements of y in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32 sums, in the order of the columns.
// Source: split K, as in Osama et al. 2023, "Stream-K".

@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Element>;

fn sum_of(token: u32, row: u32) -> f32 {
  var sum = 0.0;
  for (var s = 0u; s < SPLITS; s++) { sum += parts[(s * params.tokens + token) * params.rows + row]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x * WIDTH;
  if (row >= params.rows) { return; }
  var next = 0.0;
  if (WIDTH == 2u) { next = sum_of(id.y, row + 1u); }
  put_row(id.y, row, sum_of(id.y, row), next);
}
