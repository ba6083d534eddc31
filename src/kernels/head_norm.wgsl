// RMSNorm of each query or key head, in place:
//   x[h, i] = x[h, i] / sqrt(mean_j(x[h, j]^2) + epsilon) * weight[i]
//
// Shapes: x holds [tokens, heads, head_dim] inside the rows of the q/k/v product: head h of token t begins
// at element t * stride + offset + h * head_dim; weight [head_dim].
// Bindings: 1 weight f32, 2 x f32, read and written.
// Dispatch: x = head, y = token; one workgroup of WORKGROUP_SIZE each.
// Numerics: f32 throughout.
// Source: Qwen3 technical report 2025 (q_norm and k_norm before RoPE).

struct Params {
  head_dim: u32,
  stride: u32,
  offset: u32,
  epsilon: f32,
}

@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) group: vec3u) {
  let base = group.y * params.stride + params.offset + group.x * params.head_dim;
  var squares = 0.0;
  for (var i = lanes.index; i < params.head_dim; i += WORKGROUP_SIZE) { squares += x[base + i] * x[base + i]; }
  let mean = workgroup_sum(squares, lanes) / f32(params.head_dim);
  let factor = 1.0 / sqrt(mean + params.epsilon);
  for (var i = lanes.index; i < params.head_dim; i += WORKGROUP_SIZE) {
    x[base + i] = x[base + i] * factor * weight[i];
  }
}
