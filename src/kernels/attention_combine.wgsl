// Puts the parts of a split attention together:
//   y[t, h] = sum_s exp(m_s - m) * part_s / sum_s exp(m_s - m) * weights_s,   m = max_s m_s
//
// Shapes: parts [tokens, splits, heads, head_dim + 4] as attention_step.wgsl leaves them (weighted sum, sum of
// weights, highest score, two that mean nothing), y [tokens, heads * head_dim].
// Bindings: 1 parts f32 as vec4, 2 y (element module).
// Dispatch: x over heads * head_dim / 4 in groups of WORKGROUP_SIZE, y = token. DEPTH splits are asked for at once,
// before the last DEPTH are worked on.
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

const LOWEST = -3.0e38;
const DEPTH = 4u;  // splits that are asked for at once

/// Four elements of a split's part, and its end.
struct Part { values: vec4f, end: vec4f }

/// What is read of DEPTH splits.
struct Four { part0: Part, part1: Part, part2: Part, part3: Part }

/// What has been seen of the splits.
struct Seen { highest: f32, weights: f32, sum: vec4f }

/// Vec4 `quarter` of the head whose part in the first split is at `start`; of a split behind the last, the last's.
fn load_part(start: u32, quarter: u32, split: u32) -> Part {
  let at = start + min(split, params.splits - 1u) * params.heads * (params.quarters + 1u);
  return Part(parts[at + quarter], parts[at + params.quarters]);
}

fn load_four(start: u32, quarter: u32, split: u32) -> Four {
  return Four(load_part(start, quarter, split), load_part(start, quarter, split + 1u),
              load_part(start, quarter, split + 2u), load_part(start, quarter, split + 3u));
}

fn seen_more(seen: Seen, four: Four, split: u32) -> Seen {
  let is_split = vec4u(0u, 1u, 2u, 3u) + split < vec4u(params.splits);
  let highests = vec4f(four.part0.end.y, four.part1.end.y, four.part2.end.y, four.part3.end.y);
  let scores = select(vec4f(LOWEST), highests, is_split);
  let two = max(scores.xy, scores.zw);
  let highest = max(seen.highest, max(two.x, two.y));
  let shrink = exp(seen.highest - highest);
  let factors = select(vec4f(0.0), exp(scores - highest), is_split);
  let weights = vec4f(four.part0.end.x, four.part1.end.x, four.part2.end.x, four.part3.end.x);
  let sum = factors.x * four.part0.values + factors.y * four.part1.values + factors.z * four.part2.values +
            factors.w * four.part3.values;
  return Seen(highest, shrink * seen.weights + dot(factors, weights), shrink * seen.sum + sum);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.heads * params.quarters) { return; }
  let quarter = id.x % params.quarters;
  let start = (id.y * params.splits * params.heads + id.x / params.quarters) * (params.quarters + 1u);
  var seen = Seen(LOWEST, 0.0, vec4f(0.0));
  var next = load_four(start, quarter, 0u);
  for (var split = 0u; split < params.splits; split += DEPTH) {
    let four = next;
    if (split + DEPTH < params.splits) { next = load_four(start, quarter, split + DEPTH); }
    seen = seen_more(seen, four, split);
  }
  let result = seen.sum / seen.weights;
  for (var k = 0u; k < 4u; k++) { y[id.y * params.y_stride + 4u * id.x + k] = element(result[k]); }
}
