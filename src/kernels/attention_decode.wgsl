// Attention of single queries over the paged cache:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// over the positions j of the query's sequence, up to its own and within the sliding window.
//
// Shapes: q [tokens, heads, head_dim] at the begin of each qkv row; the cache [pages, kv_heads,
// PAGE_SIZE, head_dim]; y [tokens, heads * head_dim].
// Bindings: 1 qkv f32 pairs, 2 token_info (position, slot), 3 page_table, 4 keys, 5 values (KvPair
// module), 6 y f32 pairs.
// Dispatch: x = head, y = token; one workgroup of WORKGROUP_SIZE >= PAIRS invocations each.
// Numerics: f32 scores and sums; online softmax over blocks of WORKGROUP_SIZE positions, with a finite
// lowest score, so that no infinity arises.
// Source: Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"; Ainslie et al. 2023 (GQA).

struct Params {
  group: u32,           // query heads per key head
  kv_heads: u32,
  q_stride: u32,        // of a qkv row, in pairs
  y_stride: u32,        // of a y row, in pairs
  pages_per_slot: u32,
  window: u32,          // positions that a query sees, its own included; 0 means all
  scale: f32,
  pad0: u32,
}

@group(0) @binding(1) var<storage, read> qkv: array<vec2f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read> keys: array<KvPair>;
@group(0) @binding(5) var<storage, read> values: array<KvPair>;
@group(0) @binding(6) var<storage, read_write> y: array<vec2f>;

const LOWEST = -3.0e38;
const TEAMS = WORKGROUP_SIZE / PAIRS;  // groups of invocations that sum different positions of a block

var<workgroup> query: array<vec2f, PAIRS>;
var<workgroup> block_weights: array<f32, WORKGROUP_SIZE>;
var<workgroup> team_sums: array<vec2f, WORKGROUP_SIZE>;

/// The row of a position's key or value, in the cache.
fn locate(slot: u32, position: u32, head: u32) -> u32 {
  let page = page_table[slot * params.pages_per_slot + position / PAGE_SIZE];
  return (page * params.kv_heads + head) * PAGE_SIZE + position % PAGE_SIZE;
}

fn score(row: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < PAIRS; i++) { sum += dot(query[i], key_pair(row, i)); }
  return sum * params.scale;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) id: vec3u) {
  let head = id.x / params.group;
  let info = token_info[id.y];
  let end = info.x + 1u;
  let begin = select(0u, end - min(params.window, end), params.window > 0u);
  if (lanes.index < PAIRS) { query[lanes.index] = qkv[id.y * params.q_stride + id.x * PAIRS + lanes.index]; }
  workgroupBarrier();

  let team = lanes.index / PAIRS;
  let pair = lanes.index % PAIRS;
  var highest = LOWEST;
  var weight_sum = 0.0;
  var sum = vec2f(0.0);
  for (var first = begin; first < end; first += WORKGROUP_SIZE) {
    let position = first + lanes.index;
    var own = LOWEST;
    if (position < end) { own = score(locate(info.y, position, head)); }
    let new_highest = max(highest, workgroup_max(own, lanes));
    let shrink = exp(highest - new_highest);
    highest = new_highest;
    let weight = select(0.0, exp(own - highest), position < end);
    block_weights[lanes.index] = weight;
    weight_sum = weight_sum * shrink + workgroup_sum(weight, lanes);  // its barriers publish block_weights
    sum *= shrink;
    if (team < TEAMS) {
      for (var j = team; j < min(WORKGROUP_SIZE, end - first); j += TEAMS) {
        sum += block_weights[j] * value_pair(locate(info.y, first + j, head), pair);
      }
    }
    workgroupBarrier();
  }
  team_sums[lanes.index] = sum;
  workgroupBarrier();
  if (lanes.index < PAIRS) {
    for (var other = 1u; other < TEAMS; other++) { sum += team_sums[other * PAIRS + lanes.index]; }
    y[id.y * params.y_stride + id.x * PAIRS + lanes.index] = sum / weight_sum;
  }
}
