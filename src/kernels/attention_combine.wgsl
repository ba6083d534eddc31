// Puts the parts of a split attention together:
//   y[t, h] = sum_s exp(m_s - m) * part_s / sum_s exp(m_s - m) * weights_s,   m = max_s m_s
//
// Shapes: parts [tokens, splits, heads, head_dim + 4] as attention_step.wgsl leaves them (weighted sum, sum of
// weights, highest score, two that mean nothing), y [tokens, heads * head_dim].
// Bindings: 1 parts f32 as vec4, 2 y (element module).
// Dispatch: x over heads * head_dim / 4 in groups of WORKGROUP_SIZE, y = token.
// Numerics: f32 up to the output; a split without positions has the weight 0.
// Source: Dao et al. 2023, "Flash-Decoding".

struct Params {
  heads: u32,
  quarters: u32,  // of a head: vec4s
  splits: u32,
  y_stride: u32,  // in elements
}

@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * params.quarters) { return; }
  let head = id.x / params.quarters;
  let size = params.quarters + 1u;
  let step = params.heads * size;
  let first = (id.y * params.splits * params.heads + head) * size;
  var highest = parts[first + params.quarters].y;
  for (var s = 1u; s < params.splits; s++) { highest = max(highest, parts[first + s * step + params.quarters].y); }
  var sum = vec4f(0.0);
  var weights = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    let at = first + s * step;
    let end = parts[at + params.quarters];
    let factor = exp(end.y - highest);
    sum += factor * parts[at + id.x % params.quarters];
    weights += factor * end.x;
  }
  for (var k = 0u; k < 4u; k++) { y[id.y * params.y_stride + 4u * id.x + k] = element(sum[k] / weights); }
}
