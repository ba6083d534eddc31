// The attention of a decode step: one new token for each of some sequences. In one dispatch: q and k norms
// (QK_NORM), RoPE, the write of the new key and value to the cache, and attention over the cache:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// over the positions j of the token's sequence, its own included, and within the sliding window.
//
// Shapes: qkv [tokens, (heads + 2 * kv_heads) * head_dim]; cache [pages, kv_heads, PAGE_SIZE, head_dim];
// cos_sin [tokens, head_dim / 2]; norms [2, head_dim] (of queries, of keys).
//   With one split, y [tokens, heads * head_dim]. With more, each split of the positions leaves its part in
//   y [tokens, splits, heads, head_dim + 2]: the weighted sum, the sum of weights, the highest score;
//   attention_combine.wgsl puts them together.
// Bindings: 1 qkv f32 as vec4, 2 token_info (position, slot), 3 page_table, 4 keys, 5 values (KvChunk module,
// read and written), 6 cos_sin f32 as vec4, 7 norms f32 as vec4 (any buffer without QK_NORM), 8 y f32.
// Dispatch: x = pairs of heads that share a key head (GROUP heads each), y = split of split_positions
// positions, z = token; workgroups of WORKGROUP_SIZE.
// Numerics: f32 scores and sums, online softmax with a finite lowest score. The new key and value are
// rounded to the cache's type before they are used.
// Source: attention_decode.wgsl, rope.wgsl, head_norm.wgsl; splitting as in Dao et al. 2023, "Flash-Decoding".

struct Params {
  kv_heads: u32,
  groups_per_kv: u32,    // workgroups that share a key head
  qkv_stride: u32,       // of a row, in vec4s
  y_stride: u32,         // of a row, in elements
  pages_per_slot: u32,
  window: u32,           // positions that a query sees, its own included; 0 means all
  split_positions: u32,
  splits: u32,
  scale: f32,
  epsilon: f32,
  is_direct: u32,        // 1: y gets what is finished; 0: parts, which attention_combine.wgsl puts together
  pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<KvChunk>;
@group(0) @binding(5) var<storage, read_write> values: array<KvChunk>;
@group(0) @binding(6) var<storage, read> cos_sin: array<vec4f>;  // of two pairs of elements
@group(0) @binding(7) var<storage, read> norms: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

const LOWEST = -3.0e38;
const HEAD_DIM = 8u * CHUNKS;
const HALF = 4u * CHUNKS;
const HEADS = GROUP + 1u;                    // the queries, then the key
const PARTS = WORKGROUP_SIZE / CHUNKS;       // invocations that sum different positions of a block

var<workgroup> turned: array<vec4f, HEADS * 2u * CHUNKS>;  // queries, then the new key, after RoPE
var<workgroup> new_key: array<KvChunk, CHUNKS>;
var<workgroup> new_value: array<KvChunk, CHUNKS>;
var<workgroup> squares: array<f32, HEADS * 8u>;
var<workgroup> block_weights: array<vec2f, WORKGROUP_SIZE>;   // of each position, for up to two heads
var<workgroup> part_sums: array<vec4f, 2u * WORKGROUP_SIZE>;

struct Place {
  token: u32,
  kv_head: u32,
  first_head: u32,
  own: u32,    // position of the new token
  slot: u32,
}

/// The first vec4 of head i of HEADS in its row of qkv.
fn head_start(place: Place, i: u32) -> u32 {
  let heads = params.kv_heads * params.groups_per_kv * GROUP;
  let head = select(place.first_head + i, heads + place.kv_head, i == GROUP);
  return place.token * params.qkv_stride + head * 2u * CHUNKS;
}

/// The factor of RMSNorm of head i; squares holds eight parts for each head.
fn norm_factor(i: u32) -> f32 {
  var sum = 0.0;
  for (var part = 0u; part < 8u; part++) { sum += squares[8u * i + part]; }
  return 1.0 / sqrt(sum / f32(HEAD_DIM) + params.epsilon);
}

/// Normalises and turns the queries and the new key into `turned`: elements 4 c + k of a head's first half pair
/// with those of its second half, CHUNKS vec4s further on.
fn prepare(place: Place, lane: u32) {
  if (QK_NORM) {
    for (var i = lane; i < HEADS * 8u; i += WORKGROUP_SIZE) {
      let start = head_start(place, i / 8u);
      var sum = 0.0;
      for (var c = i % 8u; c < 2u * CHUNKS; c += 8u) { sum += dot(qkv[start + c], qkv[start + c]); }
      squares[i] = sum;
    }
    workgroupBarrier();
  }
  for (var i = lane; i < HEADS * CHUNKS; i += WORKGROUP_SIZE) {
    let head = i / CHUNKS;
    let c = i % CHUNKS;
    let start = head_start(place, head) + c;
    var low = qkv[start];
    var high = qkv[start + CHUNKS];
    let first_two = cos_sin[(place.token * CHUNKS + c) * 2u];
    let last_two = cos_sin[(place.token * CHUNKS + c) * 2u + 1u];
    if (QK_NORM) {
      let factor = norm_factor(head);
      let at = select(0u, 2u * CHUNKS, head == GROUP) + c;
      low *= factor * norms[at];
      high *= factor * norms[at + CHUNKS];
    }
    let cosines = vec4f(first_two.xz, last_two.xz);
    let sines = vec4f(first_two.yw, last_two.yw);
    turned[head * 2u * CHUNKS + c] = low * cosines - high * sines;
    turned[head * 2u * CHUNKS + CHUNKS + c] = high * cosines + low * sines;
  }
  workgroupBarrier();
}

/// The first chunk of a position's key or value, in the cache.
fn locate(place: Place, position: u32) -> u32 {
  let page = page_table[place.slot * params.pages_per_slot + position / PAGE_SIZE];
  return ((page * params.kv_heads + place.kv_head) * PAGE_SIZE + position % PAGE_SIZE) * CHUNKS;
}

/// Rounds the new key and value to the cache's type, for this workgroup's use and, by one of them, the cache.
fn keep_new(place: Place, lane: u32, writes: bool) {
  if (lane < CHUNKS) {
    let key = pack_chunk(turned[GROUP * 2u * CHUNKS + 2u * lane], turned[GROUP * 2u * CHUNKS + 2u * lane + 1u]);
    let start = head_start(place, GROUP) + params.kv_heads * 2u * CHUNKS + 2u * lane;
    let value = pack_chunk(qkv[start], qkv[start + 1u]);
    new_key[lane] = key;
    new_value[lane] = value;
    if (writes) {
      let at = locate(place, place.own) + lane;
      keys[at] = key;
      values[at] = value;
    }
  }
  workgroupBarrier();
}

/// What a chunk of a key adds to the scores of the GROUP queries.
fn chunk_scores(key: KvChunk, c: u32) -> vec2f {
  var sums = vec2f(0.0);
  for (var g = 0u; g < GROUP; g++) {
    let q = g * 2u * CHUNKS + 2u * c;
    sums[g] = dot(turned[q], chunk_low(key)) + dot(turned[q + 1u], chunk_high(key));
  }
  return sums;
}

/// The scores of a position with the GROUP queries. Four chunks are asked for at a time, so that they wait together.
fn scores(place: Place, position: u32) -> vec2f {
  var sums = vec2f(0.0);
  if (position == place.own) {
    for (var c = 0u; c < CHUNKS; c++) { sums += chunk_scores(new_key[c], c); }
    return sums * params.scale;
  }
  let at = locate(place, position);
  for (var c = 0u; c + 3u < CHUNKS; c += 4u) {
    let key0 = keys[at + c];
    let key1 = keys[at + c + 1u];
    let key2 = keys[at + c + 2u];
    let key3 = keys[at + c + 3u];
    sums += chunk_scores(key0, c) + chunk_scores(key1, c + 1u) + chunk_scores(key2, c + 2u) + chunk_scores(key3, c + 3u);
  }
  for (var c = CHUNKS & ~3u; c < CHUNKS; c++) { sums += chunk_scores(keys[at + c], c); }
  return sums * params.scale;
}

/// The weighted sums of one chunk of the values, for the GROUP heads.
struct Sums {
  low: array<vec4f, GROUP>,
  high: array<vec4f, GROUP>,
}

fn add_value(sums: ptr<function, Sums>, value: KvChunk, weights: vec2f) {
  for (var g = 0u; g < GROUP; g++) {
    (*sums).low[g] += weights[g] * chunk_low(value);
    (*sums).high[g] += weights[g] * chunk_high(value);
  }
}

/// Adds positions first + part, first + part + PARTS, … below `end` from the cache, four at a time.
fn add_values(sums: ptr<function, Sums>, place: Place, first: u32, end: u32, part: u32, chunk: u32) {
  for (var j = first + part; j < end; j += 4u * PARTS) {
    let last = end - 1u;
    let value0 = values[locate(place, j) + chunk];
    let value1 = values[locate(place, min(j + PARTS, last)) + chunk];
    let value2 = values[locate(place, min(j + 2u * PARTS, last)) + chunk];
    let value3 = values[locate(place, min(j + 3u * PARTS, last)) + chunk];
    add_value(sums, value0, block_weights[j - first]);
    add_value(sums, value1, weight_below(j + PARTS, first, end));
    add_value(sums, value2, weight_below(j + 2u * PARTS, first, end));
    add_value(sums, value3, weight_below(j + 3u * PARTS, first, end));
  }
}

fn weight_below(position: u32, first: u32, end: u32) -> vec2f {
  return select(vec2f(0.0), block_weights[min(position, end - 1u) - first], position < end);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) id: vec3u) {
  let lane = lanes.index;
  let info = token_info[id.z];
  let place = Place(id.z, id.x / params.groups_per_kv, id.x * GROUP, info.x, info.y);
  prepare(place, lane);
  let all_end = info.x + 1u;
  let all_begin = select(0u, all_end - min(params.window, all_end), params.window > 0u);
  let begin = min(all_begin + id.y * params.split_positions, all_end);
  let end = min(begin + params.split_positions, all_end);
  keep_new(place, lane, id.x % params.groups_per_kv == 0u && end == all_end && begin < end);

  var highest = vec2f(LOWEST);
  var weight_sum = vec2f(0.0);
  var sums: Sums;
  let chunk = lane % CHUNKS;
  let part = lane / CHUNKS;
  for (var first = begin; first < end; first += WORKGROUP_SIZE) {
    let position = first + lane;
    var own = vec2f(LOWEST);
    if (position < end) { own = scores(place, position); }
    let new_highest = max(highest, workgroup_max4(vec4f(own, own), lanes).xy);
    let shrink = exp(highest - new_highest);
    highest = new_highest;
    let weight = select(vec2f(0.0), exp(own - highest), position < end);
    block_weights[lane] = weight;
    weight_sum = weight_sum * shrink + workgroup_sum4(vec4f(weight, 0.0, 0.0), lanes).xy;  // publishes block_weights
    for (var g = 0u; g < GROUP; g++) {
      sums.low[g] *= shrink[g];
      sums.high[g] *= shrink[g];
    }
    let block_end = min(first + WORKGROUP_SIZE, end);
    if (part < PARTS) {
      add_values(&sums, place, first, min(block_end, place.own), part, chunk);
      if (part == 0u && first <= place.own && place.own < block_end) {
        add_value(&sums, new_value[chunk], block_weights[place.own - first]);
      }
    }
    workgroupBarrier();
  }
  for (var g = 0u; g < GROUP; g++) {
    workgroupBarrier();
    part_sums[2u * lane] = sums.low[g];
    part_sums[2u * lane + 1u] = sums.high[g];
    workgroupBarrier();
    if (lane < 2u * CHUNKS) {
      var sum = vec4f(0.0);
      for (var p = 0u; p < PARTS; p++) { sum += part_sums[2u * p * CHUNKS + lane]; }
      put(place, id.y, g, lane, sum, weight_sum[g], highest[g]);
    }
  }
}

/// Writes four elements of a head: the finished ones, or this split's part.
fn put(place: Place, split: u32, g: u32, quarter: u32, sum: vec4f, weight_sum: f32, highest: f32) {
  let head = place.first_head + g;
  if (params.is_direct == 1u) {
    let at = place.token * params.y_stride + head * HEAD_DIM + 4u * quarter;
    let value = sum / weight_sum;
    for (var k = 0u; k < 4u; k++) { y[at + k] = value[k]; }
    return;
  }
  let heads = params.kv_heads * params.groups_per_kv * GROUP;
  let at = ((place.token * params.splits + split) * heads + head) * (HEAD_DIM + 2u);
  for (var k = 0u; k < 4u; k++) { y[at + 4u * quarter + k] = sum[k]; }
  if (quarter == 0u) {
    y[at + HEAD_DIM] = weight_sum;
    y[at + HEAD_DIM + 1u] = highest;
  }
}
