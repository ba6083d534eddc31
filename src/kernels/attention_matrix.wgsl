// Attention of a tile of queries of one sequence over the paged cache, on matrix units:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// causal (j up to the query's position) and within the sliding window.
//
// Shapes: as in attention_decode.wgsl, the cache in f16 or int8. A tile is up to QUERIES consecutive tokens of one
// sequence: tiles[i] = (first token in the batch, count, slot, position of the first). HEAD_DIM is 2 to 8 times N, or
// SPLITS (2 or 4) times as much; N = K.
// Bindings: 1 qkv f32 as vec4, 2 tiles vec4u, 3 page_table, 4 keys and 5 values (kv_halves and kv_fetch
// modules), 6 y f16.
// Dispatch: x = head, y = tile; workgroups of WORKGROUP_SIZE in SUBGROUPS subgroups, each with M queries, which SPLITS
// of them share. Keys, then values, pass through workgroup memory KEYS (2 N) at a time, on their way while the ones
// before are multiplied.
// Method: a subgroup keeps its queries and sums as matrices. Scores go through workgroup memory, where lanes look at
// them row by row. Matrices cannot be scaled row by row: so weights are exp(score - reference) with a reference that
// stays while scores are less than MARGIN above it; where one is not, all sums of the workgroup are scaled once, by way
// of workgroup memory.
// Registers: of matrices of 16x16 a lane of 32 holds 4 registers of one in f16 and 8 of one in f32. A head of 128 has 8
// of queries and 8 of sums, 96 registers, beside 16 for keys on their way and 28 for scores (2), weights (2) and keys
// (1). A head of 256 would take 192 + 32 + 28 = 252 of the 255 that a lane has. So two subgroups share its queries, and
// each has half of their elements: a score is the sum of what both found, and each multiplies the weights with its half
// of the values. A lane then holds what it does for 128, and 16 more of keys on their way: 156.
// Numerics: queries (times scale), weights, and keys and values that are not cached in it, rounded to f16, sums f32. A
// weight is at most 2^MARGIN. Softmax in powers of 2, with a finite lowest score.
// Source: Dao et al. 2022, "FlashAttention"; the reference that stays follows Shah et al. 2024's observation that
// rescaling is rarely needed.

struct Params {
  group: u32,           // query heads per key head
  kv_heads: u32,
  q_stride: u32,        // of a qkv row, in vec4s
  y_stride: u32,        // of a y row, in elements
  pages_per_slot: u32,
  window: u32,          // positions that a query sees, its own included; 0 means all
  scale: f32,
  pad0: u32,
}

@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> tiles: array<vec4u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read> keys: array<KvChunk>;
@group(0) @binding(5) var<storage, read> values: array<KvChunk>;
@group(0) @binding(6) var<storage, read_write> y: array<f16>;

alias Left = subgroup_matrix_left<f16, K, M>;
alias Right = subgroup_matrix_right<f16, N, K>;
alias Sums = subgroup_matrix_result<f32, N, M>;
// Compilers keep matrices in registers that have names, not arrays of them.
struct Lefts { a: Left, b: Left, c: Left, d: Left }
struct SumRow { a: Sums, b: Sums, c: Sums, d: Sums }
struct Pair { a: Sums, b: Sums }

const LOWEST = -3.0e38;
const MARGIN = 8.0;
const LOG2_E = 1.4426950408889634;
const QUERIES = SUBGROUPS / SPLITS * M;
const KEYS = 2u * N;
const CHUNKS = HEAD_DIM / 8u;
const OWN_DIM = HEAD_DIM / SPLITS;           // of a head, that a subgroup has
const OWN_CHUNKS = OWN_DIM / 8u;
const OWN_MATRICES = OWN_DIM / N;
const FIRST = min(OWN_MATRICES, 4u);         // of them that are in the first quad,
const OTHERS = OWN_MATRICES - FIRST;         // and in the second
const PITCH = CHUNKS + 1u;                   // of a key, in chunks
const LANES = WORKGROUP_SIZE / QUERIES;      // that share a query
const UNITS = KEYS / 8u;                     // of a row of scores
const SCORE_PITCH = KEYS / 4u + 2u;          // in vec4s
const WEIGHT_PITCH = UNITS + 1u;             // in chunks
const PART = M * SCORE_PITCH;                // scores of a subgroup

var<workgroup> tile_keys: array<vec4u, KEYS * PITCH>;            // or values
var<workgroup> scores: array<vec4f, SUBGROUPS * PART>;           // or queries, or pairs of sums
var<workgroup> weights: array<vec4u, QUERIES * WEIGHT_PITCH>;
var<workgroup> has_grown: u32;

const QUAD_CHUNKS = 4u * K / 8u;  // of four matrices of queries

/// A quad of each subgroup's queries times scale, in f16, for it to load from its rows of `scores`. Queries past the
/// last are the last again.
fn put_queries(index: u32, tile: vec4u, head: u32, quad: u32) {
  let factor = params.scale * LOG2_E;
  let chunks = min(QUAD_CHUNKS, OWN_CHUNKS - quad * QUAD_CHUNKS);
  for (var i = index; i < SUBGROUPS * M * chunks; i += WORKGROUP_SIZE) {
    let line = i / chunks;
    let sub = line / M;
    let token = tile.x + min(sub / SPLITS * M + line % M, tile.y - 1u);
    let chunk = sub % SPLITS * OWN_CHUNKS + quad * QUAD_CHUNKS + i % chunks;
    let source = token * params.q_stride + head * (HEAD_DIM / 4u) + 2u * chunk;
    let low = qkv[source] * factor;
    let high = qkv[source + 1u] * factor;
    scores[line * SCORE_PITCH + i % chunks] = bitcast<vec4f>(
        vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw)));
  }
}

fn load_query(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&scores, at, SCORE_PITCH); }

// From here on `count` is how many matrices a quad or pair has: a constant where the functions are called.

fn load_queries(sub: u32, count: u32) -> Lefts {
  let at = sub * PART;
  var lefts: Lefts;
  lefts.a = load_query(at);
  if (count > 1u) { lefts.b = load_query(at + K / 8u); }
  if (count > 2u) { lefts.c = load_query(at + 2u * (K / 8u)); }
  if (count > 3u) { lefts.d = load_query(at + 3u * (K / 8u)); }
  return lefts;
}

/// The weights of K keys.
fn load_weights(sub: u32, chunk: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&weights, sub / SPLITS * M * WEIGHT_PITCH + chunk, WEIGHT_PITCH);
}

/// Keys are columns of `right`, their elements rows.
fn key_matrix(key: u32, chunk: u32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(&tile_keys, key * PITCH + chunk, PITCH);
}
fn value_matrix(key: u32, chunk: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(&tile_keys, key * PITCH + chunk, PITCH);
}

/// Scores of N keys with the elements of a quad of the queries.
fn multiply_keys(queries: Lefts, count: u32, key: u32, chunk: u32, sums: Sums) -> Sums {
  var next = subgroupMatrixMultiplyAccumulate(queries.a, key_matrix(key, chunk), sums);
  if (count > 1u) { next = subgroupMatrixMultiplyAccumulate(queries.b, key_matrix(key, chunk + K / 8u), next); }
  if (count > 2u) { next = subgroupMatrixMultiplyAccumulate(queries.c, key_matrix(key, chunk + 2u * (K / 8u)), next); }
  if (count > 3u) { next = subgroupMatrixMultiplyAccumulate(queries.d, key_matrix(key, chunk + 3u * (K / 8u)), next); }
  return next;
}

/// N elements of the values of 2 K keys.
fn multiply_values(first: Left, second: Left, chunk: u32, sums: Sums) -> Sums {
  return subgroupMatrixMultiplyAccumulate(second, value_matrix(K, chunk),
                                          subgroupMatrixMultiplyAccumulate(first, value_matrix(0u, chunk), sums));
}

fn add_values(first: Left, second: Left, count: u32, chunk: u32, sums: SumRow) -> SumRow {
  var next = sums;
  next.a = multiply_values(first, second, chunk, sums.a);
  if (count > 1u) { next.b = multiply_values(first, second, chunk + N / 8u, sums.b); }
  if (count > 2u) { next.c = multiply_values(first, second, chunk + 2u * (N / 8u), sums.c); }
  if (count > 3u) { next.d = multiply_values(first, second, chunk + 3u * (N / 8u), sums.d); }
  return next;
}

fn store_pair(sub: u32, count: u32, pair: Pair) {
  subgroupMatrixStore<row_major>(&scores, sub * PART, pair.a, SCORE_PITCH);
  if (count > 1u) { subgroupMatrixStore<row_major>(&scores, sub * PART + N / 4u, pair.b, SCORE_PITCH); }
}

fn load_pair(sub: u32, count: u32) -> Pair {
  var pair = Pair();
  pair.a = subgroupMatrixLoad<Sums, row_major>(&scores, sub * PART, SCORE_PITCH);
  if (count > 1u) { pair.b = subgroupMatrixLoad<Sums, row_major>(&scores, sub * PART + N / 4u, SCORE_PITCH); }
  return pair;
}

/// One of LANES invocations that look at a query's scores.
struct Row {
  query: u32,       // in the tile
  place: u32,       // of its scores from the first subgroup that shares it; those from the next are PART further
  lane: u32,
  begin: u32,       // the positions that it sees
  end: u32,
}

fn row_max(value: f32) -> f32 {
  var highest = value;
  for (var step = 1u; step < LANES; step *= 2u) { highest = max(highest, subgroupShuffleXor(highest, step)); }
  return highest;
}

fn row_sum(value: f32) -> f32 {
  var sum = value;
  for (var step = 1u; step < LANES; step *= 2u) { sum += subgroupShuffleXor(sum, step); }
  return sum;
}

/// Four scores of a row; those that the query does not see are the lowest.
fn visible_scores(row: Row, first: u32, at: u32) -> vec4f {
  let position = vec4u(0u, 1u, 2u, 3u) + first + 4u * at;
  let sees = (position >= vec4u(row.begin)) & (position < vec4u(row.end));
  var score = scores[row.place + at];
  if (SPLITS > 1u) { score += scores[row.place + PART + at]; }
  if (SPLITS > 2u) { score += scores[row.place + 2u * PART + at] + scores[row.place + 3u * PART + at]; }
  return select(vec4f(LOWEST), score, sees);
}

fn highest_score(row: Row, first: u32) -> f32 {
  var highest = vec4f(LOWEST);
  for (var unit = row.lane; unit < UNITS; unit += LANES) {
    highest = max(highest, max(visible_scores(row, first, 2u * unit), visible_scores(row, first, 2u * unit + 1u)));
  }
  return row_max(max(max(highest.x, highest.y), max(highest.z, highest.w)));
}

/// Puts the weights of this lane's scores and returns their sum.
fn put_weights(row: Row, first: u32, reference: f32) -> f32 {
  var sum = vec4f(0.0);
  for (var unit = row.lane; unit < UNITS; unit += LANES) {
    let low_scores = visible_scores(row, first, 2u * unit);
    let high_scores = visible_scores(row, first, 2u * unit + 1u);
    let low = select(exp2(low_scores - reference), vec4f(0.0), low_scores == vec4f(LOWEST));
    let high = select(exp2(high_scores - reference), vec4f(0.0), high_scores == vec4f(LOWEST));
    sum += low + high;
    weights[row.query * WEIGHT_PITCH + unit] =
        vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
  }
  return dot(sum, vec4f(1.0));
}

fn scale_sums_at(place: u32, lane: u32, count: u32, factor: f32) {
  for (var at = lane; at < count * (N / 4u); at += LANES) { scores[place + at] *= factor; }
}

/// Multiplies each query's sums in a pair by its factor.
fn scaled_pair(sub: u32, row: Row, count: u32, pair: Pair, factor: f32) -> Pair {
  workgroupBarrier();
  store_pair(sub, count, pair);
  workgroupBarrier();
  scale_sums_at(row.place, row.lane, count, factor);
  if (SPLITS > 1u) { scale_sums_at(row.place + PART, row.lane, count, factor); }
  if (SPLITS > 2u) {
    scale_sums_at(row.place + 2u * PART, row.lane, count, factor);
    scale_sums_at(row.place + 3u * PART, row.lane, count, factor);
  }
  workgroupBarrier();
  return load_pair(sub, count);
}

fn scaled_row(sub: u32, row: Row, count: u32, sums: SumRow, factor: f32) -> SumRow {
  let first = scaled_pair(sub, row, min(count, 2u), Pair(sums.a, sums.b), factor);
  var second = Pair();
  if (count > 2u) { second = scaled_pair(sub, row, count - 2u, Pair(sums.c, sums.d), factor); }
  return SumRow(first.a, first.b, second.a, second.b);
}

fn write_sums_at(place: u32, lane: u32, to: u32, count: u32, factor: f32) {
  for (var at = lane; at < count * (N / 4u); at += LANES) {
    let value = vec4<f16>(scores[place + at] * factor);
    for (var i = 0u; i < 4u; i++) { y[to + 4u * at + i] = value[i]; }
  }
}

/// Writes each query's sums in a pair, times its factor, from element `column` of its row of y on: those of the first
/// subgroup that shares it there, those of the next where its elements are.
fn write_pair(sub: u32, row: Row, tile: vec4u, column: u32, count: u32, pair: Pair, factor: f32) {
  workgroupBarrier();
  store_pair(sub, count, pair);
  workgroupBarrier();
  if (row.query >= tile.y) { return; }
  let to = (tile.x + row.query) * params.y_stride + column;
  write_sums_at(row.place, row.lane, to, count, factor);
  if (SPLITS > 1u) { write_sums_at(row.place + PART, row.lane, to + OWN_DIM, count, factor); }
  if (SPLITS > 2u) {
    write_sums_at(row.place + 2u * PART, row.lane, to + 2u * OWN_DIM, count, factor);
    write_sums_at(row.place + 3u * PART, row.lane, to + 3u * OWN_DIM, count, factor);
  }
}

fn write_row(sub: u32, row: Row, tile: vec4u, column: u32, count: u32, sums: SumRow, factor: f32) {
  write_pair(sub, row, tile, column, min(count, 2u), Pair(sums.a, sums.b), factor);
  if (count > 2u) { write_pair(sub, row, tile, column + 2u * N, count - 2u, Pair(sums.c, sums.d), factor); }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(subgroup_id) sub: u32,
        @builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) id: vec3u) {
  let tile = tiles[id.y];
  let end = tile.w + tile.y;
  let begin = select(0u, tile.w + 1u - min(params.window, tile.w + 1u), params.window > 0u);
  let past = Past(begin, end, tile.z, id.x / params.group);
  let own = sub % SPLITS * OWN_CHUNKS;  // the first of a head's chunks that this subgroup has
  let query = sub * (M / SPLITS) + lane / LANES;
  let place = (sub / SPLITS * SPLITS * M + sub % SPLITS * (M / SPLITS) + lane / LANES) * SCORE_PITCH;
  let own_end = min(tile.w + query + 1u, end);
  let own_begin = select(0u, own_end - min(params.window, own_end), params.window > 0u);
  let row = Row(query, place, lane % LANES, own_begin, own_end);

  put_queries(index, tile, id.x, 0u);
  var fetched = fetch_keys(index, begin / KEYS * KEYS, past);
  workgroupBarrier();
  let queries0 = load_queries(sub, FIRST);
  var queries1: Lefts;
  if (OTHERS > 0u) {
    workgroupBarrier();
    put_queries(index, tile, id.x, 1u);
    workgroupBarrier();
    queries1 = load_queries(sub, OTHERS);
  }
  var sums0: SumRow;
  var sums1: SumRow;
  var reference = LOWEST;
  var weight_sum = 0.0;
  for (var first = begin / KEYS * KEYS; first < end; first += KEYS) {
    put(index, fetched);
    if (index == 0u) { has_grown = 0u; }
    workgroupBarrier();
    fetched = fetch_values(index, first, past);
    // Values, not a variable: in a loop Dawn leaves the last round's matrices in a variable that has no initial value.
    let found_a = multiply_keys(queries0, FIRST, 0u, own, Sums());
    let found_b = multiply_keys(queries0, FIRST, N, own, Sums());
    if (OTHERS > 0u) {
      store_pair(sub, 2u, Pair(multiply_keys(queries1, OTHERS, 0u, own + QUAD_CHUNKS, found_a),
                               multiply_keys(queries1, OTHERS, N, own + QUAD_CHUNKS, found_b)));
    } else {
      store_pair(sub, 2u, Pair(found_a, found_b));
    }
    workgroupBarrier();
    put(index, fetched);  // the keys have been used
    fetched = fetch_keys(index, min(first + KEYS, end - 1u), past);
    let highest = highest_score(row, first);
    var shrink = 1.0;
    if (highest > reference + MARGIN) {
      shrink = exp2(reference - highest);
      if (reference != LOWEST) { has_grown = 1u; }  // else the sums are 0
      reference = highest;
    }
    weight_sum = weight_sum * shrink + put_weights(row, first, reference);
    let scale_sums = workgroupUniformLoad(&has_grown) != 0u;
    if (scale_sums) {
      sums0 = scaled_row(sub, row, FIRST, sums0, shrink);
      if (OTHERS > 0u) { sums1 = scaled_row(sub, row, OTHERS, sums1, shrink); }
    }
    let first_weights = load_weights(sub, 0u);
    let second_weights = load_weights(sub, K / 8u);
    sums0 = add_values(first_weights, second_weights, FIRST, own, sums0);
    if (OTHERS > 0u) { sums1 = add_values(first_weights, second_weights, OTHERS, own + QUAD_CHUNKS, sums1); }
    workgroupBarrier();
  }
  let factor = 1.0 / row_sum(weight_sum);
  write_row(sub, row, tile, id.x * HEAD_DIM, FIRST, sums0, factor);
  if (OTHERS > 0u) { write_row(sub, row, tile, id.x * HEAD_DIM + 4u * N, OTHERS, sums1, factor); }
}
