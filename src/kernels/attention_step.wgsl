// The attention of a decode step: one new token for each of some sequences. In one dispatch: q and k norms, RoPE and
// the write of the new key and value to the cache (step_turning, or step_ready where the product before has done that),
// and attention over the cache:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// over the positions j of the token's sequence, its own included, and within the sliding window.
//
// Shapes: qkv [tokens, (heads + 2 * kv_heads) * head_dim]; cache [pages, kv_heads, PAGE_SIZE, head_dim];
// cos_sin [tokens, head_dim / 2]; norms [2, head_dim] (of queries, of keys).
//   With one split, y [tokens, heads * head_dim] in f32 or f16. With more, each split of the positions leaves its part
//   in y, f32 [tokens, splits, heads, head_dim + 4]: the weighted sum, the sum of weights, the highest score and two
//   that mean nothing; attention_combine.wgsl puts them together. For step_blocks y holds integers.
// Bindings: 1 qkv f32 as vec4, 2 token_info (position, slot), 3 page_table, 4 keys, 5 values (KvChunk module),
// 6 cos_sin and 7 norms (step_turning), 8 y, 9 scales (step_blocks).
// Dispatch: x = heads, or pairs of heads that share a key head (GROUP heads, 1 or 2, each), y = split of split_positions
// positions, z = token; workgroups of WORKGROUP_SIZE. LANES invocations make a part of the workgroup (part module);
// each lane has a chunk of 8 elements of the heads in its registers, each part its own positions and its own softmax:
// keys and values of DEPTH positions are asked for at once, before those of the last DEPTH are worked on, and parts meet
// only at the end.
// Numerics: f32 scores and sums, online softmax with a finite lowest score. The new key and value are
// rounded to the cache's type before they are used.
// Source: attention_decode.wgsl, rope.wgsl, head_norm.wgsl; splitting as in Dao et al. 2023, "Flash-Decoding".

struct Params {
  kv_heads: u32,
  groups_per_kv: u32,    // workgroups that share a key head
  qkv_stride: u32,       // of a row, in vec4s
  y_stride: u32,         // of a row, in vec4s
  pages_per_slot: u32,
  window: u32,           // positions that a query sees, its own included; 0 means all
  split_positions: u32,
  splits: u32,
  scale: f32,
  epsilon: f32,
  output: u32,           // OUTPUT_…
  zero: u32,             // for settled
  has_place: u32,        // 1: position and slot are those of the only token
  position: u32,
  slot: u32,
  first_page: u32,       // of the only token's slot, whose pages follow one another; or IN_TABLE
}

const IN_TABLE = 0xffffffffu;

const OUTPUT_PARTS = 0u;
const OUTPUT_F32 = 1u;
const OUTPUT_F16 = 2u;
const OUTPUT_BLOCKS = 3u;

@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(8) var<storage, read_write> y: array<vec2u>;  // four halves, or two floats

const LOWEST = -3.0e38;
const PARTS = WORKGROUP_SIZE / LANES;
const DEPTH = 4u;                    // positions that a part works on at once
const QUARTERS = 2u * CHUNKS;        // vec4s of a head

/// Eight neighbouring elements of a head.
struct Chunk { low: vec4f, high: vec4f }

/// What a part has seen of the positions, for one head.
struct Seen {
  highest: f32,   // score
  weights: f32,   // sum of exp(score - highest)
  sum: Chunk,     // of the values so weighted
}

/// What has been seen before the loop over the cache.
struct Start { seen0: Seen, seen1: Seen }

/// Where the new token stands.
struct Place { token: u32, kv_head: u32, own: u32, slot: u32 }

var<workgroup> part_highest: array<vec2f, PARTS>;  // of both heads
var<workgroup> part_weights: array<vec2f, PARTS>;
var<workgroup> part_sums: array<vec4f, PARTS * QUARTERS>;

fn dot8(a: Chunk, b: Chunk) -> f32 { return dot(a.low, b.low) + dot(a.high, b.high); }

/// The first chunk of the row of a position's key or value, in the cache.
fn locate(place: Place, position: u32) -> u32 {
  var page = params.first_page + position / PAGE_SIZE;
  if (params.first_page == IN_TABLE) { page = page_table[place.slot * params.pages_per_slot + position / PAGE_SIZE]; }
  return ((page * params.kv_heads + place.kv_head) * PAGE_SIZE + position % PAGE_SIZE) * ROW_CHUNKS;
}

/// A chunk of a key or value as it is stored, and what holds its scale where there is one.
struct Stored { chunk: KvChunk, scale: KvChunk }

fn key_chunk(row: u32, chunk: u32) -> Stored {
  if (HAS_SCALE) { return Stored(keys[row + chunk], keys[row + CHUNKS]); }
  return Stored(keys[row + chunk], KvChunk());
}

fn value_chunk(row: u32, chunk: u32) -> Stored {
  if (HAS_SCALE) { return Stored(values[row + chunk], values[row + CHUNKS]); }
  return Stored(values[row + chunk], KvChunk());
}

fn unpacked(chunk: KvChunk, scale: f32) -> Chunk {
  if (HAS_SCALE) { return Chunk(scale * chunk_low(chunk), scale * chunk_high(chunk)); }
  return Chunk(chunk_low(chunk), chunk_high(chunk));
}

fn decoded(stored: Stored) -> Chunk {
  if (HAS_SCALE) { return unpacked(stored.chunk, scale_of(stored.scale)); }
  return unpacked(stored.chunk, 1.0);
}

/// What a lane reads of DEPTH positions.
struct Four {
  key0: Stored, key1: Stored, key2: Stored, key3: Stored,
  value0: Stored, value1: Stored, value2: Stored, value3: Stored,
}

/// The positions that a part works on together: neighbouring parts have neighbouring ones.
fn places_of(first: u32, part: Part) -> vec4u { return vec4u(0u, PARTS, 2u * PARTS, 3u * PARTS) + first + part.index; }

/// Those from `first` on; at the end and behind it, the last one again.
fn load_four(place: Place, part: Part, first: u32, end: u32, chunk: u32) -> Four {
  let positions = min(places_of(first, part), vec4u(max(end, 1u) - 1u));
  let row0 = locate(place, positions.x);
  let row1 = locate(place, positions.y);
  let row2 = locate(place, positions.z);
  let row3 = locate(place, positions.w);
  return Four(key_chunk(row0, chunk), key_chunk(row1, chunk), key_chunk(row2, chunk), key_chunk(row3, chunk),
              value_chunk(row0, chunk), value_chunk(row1, chunk), value_chunk(row2, chunk), value_chunk(row3, chunk));
}

fn weighted(sum: Chunk, weight: f32, value: Chunk) -> Chunk {
  return Chunk(sum.low + weight * value.low, sum.high + weight * value.high);
}

/// Adds DEPTH positions to what was seen; those with the lowest score count for nothing.
fn seen_more(seen: Seen, scores: vec4f, value0: Chunk, value1: Chunk, value2: Chunk, value3: Chunk) -> Seen {
  let two = max(scores.xy, scores.zw);
  let highest = max(seen.highest, max(two.x, two.y));
  let shrink = exp(seen.highest - highest);
  let weights = select(vec4f(0.0), exp(scores - highest), scores > vec4f(LOWEST));
  var sum = Chunk(seen.sum.low * shrink, seen.sum.high * shrink);
  sum = weighted(sum, weights.x, value0);
  sum = weighted(sum, weights.y, value1);
  sum = weighted(sum, weights.z, value2);
  sum = weighted(sum, weights.w, value3);
  return Seen(highest, seen.weights * shrink + dot(weights, vec4f(1.0)), sum);
}

/// Writes four elements of a head, or holds them for step_blocks: the finished ones, or this split's part.
fn put(token: u32, head: u32, split: u32, quarter: u32, sum: vec4f, weights: f32, highest: f32) {
  if (params.output == OUTPUT_PARTS) {
    let heads = params.kv_heads * params.groups_per_kv * GROUP;
    let at = 2u * ((token * params.splits + split) * heads + head) * (QUARTERS + 1u);
    y[at + 2u * quarter] = bitcast<vec2u>(sum.xy);
    y[at + 2u * quarter + 1u] = bitcast<vec2u>(sum.zw);
    if (quarter == 0u) { y[at + 2u * QUARTERS] = bitcast<vec2u>(vec2f(weights, highest)); }
    return;
  }
  let at = token * params.y_stride + head * QUARTERS + quarter;
  let value = sum / weights;
  if (params.output == OUTPUT_BLOCKS) {
    hold(quarter, value);
  } else if (params.output == OUTPUT_F16) {
    y[at] = vec2u(pack2x16float(value.xy), pack2x16float(value.zw));
  } else {
    y[2u * at] = bitcast<vec2u>(value.xy);
    y[2u * at + 1u] = bitcast<vec2u>(value.zw);
  }
}

fn run(part: Part, id: vec3u) {
  let lane = part.lane;
  let chunk = min(lane, CHUNKS - 1u);  // a lane past the last has it too, and counts for nothing
  let first_head = id.x * GROUP;
  let kv_head = id.x / params.groups_per_kv;
  let row = id.z * params.qkv_stride;
  var info = vec2u(params.position, params.slot);
  if (params.has_place == 0u) { info = token_info[id.z]; }
  let place = Place(id.z, kv_head, info.x, info.y);
  let all_end = info.x + 1u;
  let all_begin = select(0u, all_end - min(params.window, all_end), params.window > 0u);
  let begin = min(all_begin + id.y * params.split_positions, all_end);
  let end = min(begin + params.split_positions, all_end);

  let scale = select(0.0, params.scale, lane < CHUNKS);
  var query0 = query_chunk(row + first_head * QUARTERS, chunk, id.z, part);
  var query1 = query0;
  if (GROUP > 1u) { query1 = query_chunk(row + (first_head + 1u) * QUARTERS, chunk, id.z, part); }
  query0 = Chunk(query0.low * scale, query0.high * scale);
  query1 = Chunk(query1.low * scale, query1.high * scale);

  let has_new = part.index == 0u && begin < end && end == all_end;
  let start = seen_before(place, part, has_new, id.x % params.groups_per_kv == 0u, chunk, query0, query1);
  var seen0 = start.seen0;
  var seen1 = start.seen1;

  let cached_end = min(end, place.own + NEW_POSITIONS);
  let step = DEPTH * PARTS;
  var next = load_four(place, part, begin, cached_end, chunk);
  for (var first = begin; first < cached_end; first += step) {
    let four = next;
    if (first + step < cached_end) { next = load_four(place, part, first + step, cached_end, chunk); }
    let is_seen = places_of(first, part) < vec4u(cached_end);
    let key0 = decoded(four.key0);
    let key1 = decoded(four.key1);
    let key2 = decoded(four.key2);
    let key3 = decoded(four.key3);
    let value0 = decoded(four.value0);
    let value1 = decoded(four.value1);
    let value2 = decoded(four.value2);
    let value3 = decoded(four.value3);
    let own0 = vec4f(dot8(query0, key0), dot8(query0, key1), dot8(query0, key2), dot8(query0, key3));
    let scores0 = select(vec4f(LOWEST), part_sum4(own0, part), is_seen);
    seen0 = seen_more(seen0, scores0, value0, value1, value2, value3);
    if (GROUP > 1u) {
      let own1 = vec4f(dot8(query1, key0), dot8(query1, key1), dot8(query1, key2), dot8(query1, key3));
      let scores1 = select(vec4f(LOWEST), part_sum4(own1, part), is_seen);
      seen1 = seen_more(seen1, scores1, value0, value1, value2, value3);
    }
  }
  join(part, id, seen0, seen1);
}

/// Puts together what the parts have seen, one head after the other.
fn join(part: Part, id: vec3u, seen0: Seen, seen1: Seen) {
  let own_highest = vec2f(seen0.highest, seen1.highest);
  if (part.lane == 0u) { part_highest[part.index] = own_highest; }
  workgroupBarrier();
  var highest = part_highest[0];
  for (var p = 1u; p < PARTS; p++) { highest = max(highest, part_highest[p]); }
  let shrink = exp(own_highest - highest);
  if (part.lane == 0u) { part_weights[part.index] = shrink * vec2f(seen0.weights, seen1.weights); }
  let position = part.index * LANES + part.lane;
  for (var g = 0u; g < GROUP; g++) {
    if (part.lane < CHUNKS) {
      let at = part.index * QUARTERS + 2u * part.lane;
      part_sums[at] = shrink[g] * select(seen1.sum.low, seen0.sum.low, g == 0u);
      part_sums[at + 1u] = shrink[g] * select(seen1.sum.high, seen0.sum.high, g == 0u);
    }
    workgroupBarrier();
    for (var quarter = position; quarter < QUARTERS; quarter += WORKGROUP_SIZE) {
      var sum = vec4f(0.0);
      var weights = 0.0;
      for (var p = 0u; p < PARTS; p++) {
        sum += part_sums[p * QUARTERS + quarter];
        weights += part_weights[p][g];
      }
      put(id.z, id.x * GROUP + g, id.y, quarter, sum, weights, highest[g]);
    }
    workgroupBarrier();
    if (params.output == OUTPUT_BLOCKS) {
      put_units((id.z * params.kv_heads * params.groups_per_kv + id.x) * GROUP + g, position);
    }
  }
}
