// Attention of a tile of queries of one sequence over the paged cache, without a score matrix in memory:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// causal (j up to the query's position) and within the sliding window.
//
// Shapes: as in attention_decode.wgsl. A tile is up to QUERIES consecutive tokens of one sequence:
// tiles[i] = (first token in the batch, count, slot, position of the first).
// Bindings: 1 qkv f32 pairs, 2 tiles vec4u, 3 page_table, 4 keys, 5 values (KvPair module), 6 y in pairs
// (element module).
// Dispatch: x = head, y = tile; workgroups of QUERIES * 8: eight invocations share a query. Keys, then
// values, pass through workgroup memory KEYS at a time.
// Numerics: f32 scores and sums, online softmax with a finite lowest score.
// Source: Dao et al. 2022, "FlashAttention" (tiling and online softmax).

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
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read> keys: array<KvPair>;
@group(0) @binding(5) var<storage, read> values: array<KvPair>;
@group(0) @binding(6) var<storage, read_write> y: array<vec2<Element>>;

const LOWEST = -3.0e38;
const SHARE = 8u;                                   // invocations per query
const OWN_PAIRS = (PAIRS + SHARE - 1u) / SHARE;     // output pairs of an invocation
const SIZE = QUERIES * SHARE;

var<workgroup> query_tile: array<vec2f, QUERIES * PAIRS>;
var<workgroup> kv_tile: array<vec2f, KEYS * PAIRS>;
var<workgroup> weight_tile: array<f32, QUERIES * KEYS>;

/// The row of a position's key or value, in the cache.
fn locate(slot: u32, position: u32, head: u32) -> u32 {
  let page = page_table[slot * params.pages_per_slot + position / PAGE_SIZE];
  return (page * params.kv_heads + head) * PAGE_SIZE + position % PAGE_SIZE;
}

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) id: vec3u) {
  let tile = tiles[id.y];
  let head = id.x / params.group;
  let query = index / SHARE;
  let part = index % SHARE;
  for (var i = index; i < tile.y * PAIRS; i += SIZE) {
    query_tile[i] = qkv[(tile.x + i / PAIRS) * params.q_stride + id.x * PAIRS + i % PAIRS];
  }
  let own_end = tile.w + query + 1u;  // positions below it are visible to this query
  let own_begin = select(0u, own_end - min(params.window, own_end), params.window > 0u);
  let end = tile.w + tile.y;
  let begin = select(0u, tile.w + 1u - min(params.window, tile.w + 1u), params.window > 0u);

  var highest = LOWEST;
  var weight_sum = 0.0;
  var sums = array<vec2f, OWN_PAIRS>();
  for (var first = begin; first < end; first += KEYS) {
    let count = min(KEYS, end - first);
    workgroupBarrier();  // the values of the previous block have been used
    for (var i = index; i < count * PAIRS; i += SIZE) {
      kv_tile[i] = key_pair(locate(tile.z, first + i / PAIRS, head), i % PAIRS);
    }
    workgroupBarrier();
    for (var j = part; j < count; j += SHARE) {
      var score = 0.0;
      for (var i = 0u; i < PAIRS; i++) { score += dot(query_tile[query * PAIRS + i], kv_tile[j * PAIRS + i]); }
      let visible = first + j >= own_begin && first + j < own_end;
      weight_tile[query * KEYS + j] = select(LOWEST, score * params.scale, visible);
    }
    workgroupBarrier();
    var block_highest = highest;
    for (var j = 0u; j < count; j++) { block_highest = max(block_highest, weight_tile[query * KEYS + j]); }
    let shrink = exp(highest - block_highest);
    highest = block_highest;
    weight_sum *= shrink;
    for (var i = 0u; i < OWN_PAIRS; i++) { sums[i] *= shrink; }
    for (var i = index; i < count * PAIRS; i += SIZE) {
      kv_tile[i] = value_pair(locate(tile.z, first + i / PAIRS, head), i % PAIRS);
    }
    workgroupBarrier();
    for (var j = 0u; j < count; j++) {
      let visible = first + j >= own_begin && first + j < own_end;
      let weight = select(0.0, exp(weight_tile[query * KEYS + j] - highest), visible);
      weight_sum += weight;
      for (var i = 0u; i < OWN_PAIRS; i++) {
        let pair = part + i * SHARE;
        if (pair < PAIRS) { sums[i] += weight * kv_tile[j * PAIRS + pair]; }
      }
    }
  }
  if (query >= tile.y) { return; }
  for (var i = 0u; i < OWN_PAIRS; i++) {
    let pair = part + i * SHARE;
    let value = sums[i] / weight_sum;
    if (pair < PAIRS) {
      y[(tile.x + query) * params.y_stride + id.x * PAIRS + pair] = vec2<Element>(element(value.x), element(value.y));
    }
  }
}
