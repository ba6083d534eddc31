// Puts the parts of a split attention together:
//   y[t, h] = sum_s exp(m_s - m) * part_s / sum_s exp(m_s - m) * weights_s,   m = max_s m_s
//
// Shapes: parts [tokens, splits, heads, head_dim + 2] as attention_step.wgsl leaves them (weighted sum, sum of
// weights, highest score), y [tokens, heads * head_dim].
// Bindings: 1 parts f32, 2 y (element module).
// Dispatch: x over heads * head_dim in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32 up to the output; a split without positions has the weight 0.
// Source: Dao et al. 2023, "Flash-Decoding".

struct Params {
  heads: u32,
  head_dim: u32,
  splits: u32,
  y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * params.head_dim) { return; }
  let head = id.x / params.head_dim;
  let index = id.x % params.head_dim;
  let size = params.head_dim + 2u;
  let step = params.heads * size;
  let first = (id.y * params.splits * params.heads + head) * size;
  var highest = parts[first + params.head_dim + 1u];
  for (var s = 1u; s < params.splits; s++) { highest = max(highest, parts[first + s * step + params.head_dim + 1u]); }
  var sum = 0.0;
  var weights = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    let at = first + s * step;
    let factor = exp(parts[at + params.head_dim + 1u] - highest);
    sum += factor * parts[at + index];
    weights += factor * parts[at + params.head_dim];
  }
  y[id.y * params.y_stride + id.x] = element(sum / weights);
}
