// Attention of a tile of queries of one sequence over the paged cache, on matrix units:
//   y[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) * v[j, h / group]
// causal (j up to the query's position) and within the sliding window.
//
// Shapes: as in attention_decode.wgsl, the cache in f16 or int8. A tile is up to QUERIES consecutive tokens of one
// sequence: tiles[i] = (first token in the batch, count, slot, position of the first). HEAD_DIM is 4 or 8 times N; N = K.
// Bindings: 1 qkv f32 as vec4, 2 tiles vec4u, 3 page_table, 4 keys and 5 values (KvChunk module), 6 y f16.
// Dispatch: x = head, y = tile; workgroups of WORKGROUP_SIZE in SUBGROUPS subgroups, each with M queries. Keys, then
// values, pass through workgroup memory KEYS (2 N) at a time, on their way while the ones before are multiplied.
// Method: a subgroup keeps its queries and sums as matrices. Scores go through workgroup memory, where lanes look at
// them row by row. Matrices cannot be scaled row by row: so weights are exp(score - reference) with a reference that
// stays while scores are less than MARGIN above it; where one is not, all sums of the workgroup are scaled once, by way
// of workgroup memory.
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

@group(0) @binding(0) var<uniform> params: Params;
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
const QUERIES = SUBGROUPS * M;
const KEYS = 2u * N;
const QUADS = HEAD_DIM / (4u * N);           // of matrices in a head: 1 or 2
const CHUNKS = HEAD_DIM / 8u;
const PITCH = CHUNKS + 1u;                   // of a key, in chunks
const LANES = WORKGROUP_SIZE / QUERIES;      // that share a query
const UNITS = KEYS / 8u;                     // of a row of scores
const SCORE_PITCH = KEYS / 4u + 2u;          // in vec4s
const WEIGHT_PITCH = UNITS + 1u;             // in chunks
const FETCHES = KEYS * CHUNKS / WORKGROUP_SIZE;

var<workgroup> tile_keys: array<vec4u, KEYS * PITCH>;            // or values
var<workgroup> scores: array<vec4f, QUERIES * SCORE_PITCH>;      // or queries, or pairs of sums
var<workgroup> weights: array<vec4u, QUERIES * WEIGHT_PITCH>;
var<workgroup> has_grown: u32;

/// What an invocation carries from the cache to workgroup memory: chunks as they are stored.
struct Fetched { a: vec4u, b: vec4u, c: vec4u, d: vec4u }

/// What the tile sees: positions from `begin` to before `end`, of which `slot` tells the pages.
struct Past { begin: u32, end: u32, slot: u32, head: u32 }

/// The row of the cache with `item` of the block of keys from `first` on; one of the past in any case.
fn row_at(item: u32, first: u32, past: Past) -> u32 {
  let position = clamp(first + item / CHUNKS, past.begin, past.end - 1u);
  let page = page_table[past.slot * params.pages_per_slot + position / PAGE_SIZE];
  return ((page * params.kv_heads + past.head) * PAGE_SIZE + position % PAGE_SIZE) * ROW_CHUNKS;
}

fn key_at(item: u32, first: u32, past: Past) -> vec4u { return key_chunk(row_at(item, first, past), item % CHUNKS); }
fn value_at(item: u32, first: u32, past: Past) -> vec4u {
  return value_chunk(row_at(item, first, past), item % CHUNKS);
}

fn fetch_keys(index: u32, first: u32, past: Past) -> Fetched {
  var to: Fetched;
  to.a = key_at(index, first, past);
  if (FETCHES > 1u) { to.b = key_at(index + WORKGROUP_SIZE, first, past); }
  if (FETCHES > 2u) {
    to.c = key_at(index + 2u * WORKGROUP_SIZE, first, past);
    to.d = key_at(index + 3u * WORKGROUP_SIZE, first, past);
  }
  return to;
}

fn fetch_values(index: u32, first: u32, past: Past) -> Fetched {
  var to: Fetched;
  to.a = value_at(index, first, past);
  if (FETCHES > 1u) { to.b = value_at(index + WORKGROUP_SIZE, first, past); }
  if (FETCHES > 2u) {
    to.c = value_at(index + 2u * WORKGROUP_SIZE, first, past);
    to.d = value_at(index + 3u * WORKGROUP_SIZE, first, past);
  }
  return to;
}

fn put_chunk(item: u32, chunk: vec4u) { tile_keys[item / CHUNKS * PITCH + item % CHUNKS] = halves(chunk); }

fn put(index: u32, fetched: Fetched) {
  put_chunk(index, fetched.a);
  if (FETCHES > 1u) { put_chunk(index + WORKGROUP_SIZE, fetched.b); }
  if (FETCHES > 2u) {
    put_chunk(index + 2u * WORKGROUP_SIZE, fetched.c);
    put_chunk(index + 3u * WORKGROUP_SIZE, fetched.d);
  }
}

const QUAD_CHUNKS = 4u * K / 8u;  // of four matrices of queries

/// A quad of the queries times scale, in f16, for the subgroups to load: the rows of `scores` hold them. Queries past
/// the last are the last again.
fn put_queries(index: u32, tile: vec4u, head: u32, quad: u32) {
  let factor = params.scale * LOG2_E;
  for (var i = index; i < QUERIES * QUAD_CHUNKS; i += WORKGROUP_SIZE) {
    let token = tile.x + min(i / QUAD_CHUNKS, tile.y - 1u);
    let chunk = i % QUAD_CHUNKS;
    let source = token * params.q_stride + head * (HEAD_DIM / 4u) + 2u * (quad * QUAD_CHUNKS + chunk);
    let low = qkv[source] * factor;
    let high = qkv[source + 1u] * factor;
    scores[i / QUAD_CHUNKS * SCORE_PITCH + chunk] = bitcast<vec4f>(
        vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw)));
  }
}

fn load_queries(sub: u32) -> Lefts {
  let at = sub * M * SCORE_PITCH;
  var lefts: Lefts;
  lefts.a = subgroupMatrixLoad<Left, row_major>(&scores, at, SCORE_PITCH);
  lefts.b = subgroupMatrixLoad<Left, row_major>(&scores, at + K / 8u, SCORE_PITCH);
  lefts.c = subgroupMatrixLoad<Left, row_major>(&scores, at + 2u * (K / 8u), SCORE_PITCH);
  lefts.d = subgroupMatrixLoad<Left, row_major>(&scores, at + 3u * (K / 8u), SCORE_PITCH);
  return lefts;
}

/// The weights of K keys.
fn load_weights(sub: u32, chunk: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&weights, sub * M * WEIGHT_PITCH + chunk, WEIGHT_PITCH);
}

/// Keys are columns of `right`, their elements rows.
fn key_matrix(key: u32, chunk: u32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(&tile_keys, key * PITCH + chunk, PITCH);
}
fn value_matrix(key: u32, chunk: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(&tile_keys, key * PITCH + chunk, PITCH);
}

/// Scores of N keys with 4 K elements of the queries.
fn multiply_keys(queries: Lefts, key: u32, chunk: u32, sums: Sums) -> Sums {
  var next = subgroupMatrixMultiplyAccumulate(queries.a, key_matrix(key, chunk), sums);
  next = subgroupMatrixMultiplyAccumulate(queries.b, key_matrix(key, chunk + K / 8u), next);
  next = subgroupMatrixMultiplyAccumulate(queries.c, key_matrix(key, chunk + 2u * (K / 8u)), next);
  return subgroupMatrixMultiplyAccumulate(queries.d, key_matrix(key, chunk + 3u * (K / 8u)), next);
}

/// N elements of the values of 2 K keys.
fn multiply_values(first: Left, second: Left, chunk: u32, sums: Sums) -> Sums {
  return subgroupMatrixMultiplyAccumulate(second, value_matrix(K, chunk),
                                          subgroupMatrixMultiplyAccumulate(first, value_matrix(0u, chunk), sums));
}

fn add_values(first: Left, second: Left, chunk: u32, sums: SumRow) -> SumRow {
  return SumRow(multiply_values(first, second, chunk, sums.a),
                multiply_values(first, second, chunk + N / 8u, sums.b),
                multiply_values(first, second, chunk + 2u * (N / 8u), sums.c),
                multiply_values(first, second, chunk + 3u * (N / 8u), sums.d));
}

fn store_pair(sub: u32, a: Sums, b: Sums) {
  subgroupMatrixStore<row_major>(&scores, sub * M * SCORE_PITCH, a, SCORE_PITCH);
  subgroupMatrixStore<row_major>(&scores, sub * M * SCORE_PITCH + N / 4u, b, SCORE_PITCH);
}

fn load_pair(sub: u32) -> Pair {
  return Pair(subgroupMatrixLoad<Sums, row_major>(&scores, sub * M * SCORE_PITCH, SCORE_PITCH),
              subgroupMatrixLoad<Sums, row_major>(&scores, sub * M * SCORE_PITCH + N / 4u, SCORE_PITCH));
}

/// One of LANES invocations that look at a query's scores.
struct Row {
  query: u32,       // in the tile
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
  return select(vec4f(LOWEST), scores[row.query * SCORE_PITCH + at], sees);
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

/// Multiplies each query's sums in two matrices by its factor.
fn scaled_pair(sub: u32, row: Row, a: Sums, b: Sums, factor: f32) -> Pair {
  workgroupBarrier();
  store_pair(sub, a, b);
  workgroupBarrier();
  for (var at = row.lane; at < KEYS / 4u; at += LANES) { scores[row.query * SCORE_PITCH + at] *= factor; }
  workgroupBarrier();
  return load_pair(sub);
}

fn scaled_row(sub: u32, row: Row, sums: SumRow, factor: f32) -> SumRow {
  let first = scaled_pair(sub, row, sums.a, sums.b, factor);
  let second = scaled_pair(sub, row, sums.c, sums.d, factor);
  return SumRow(first.a, first.b, second.a, second.b);
}

/// Writes each query's sums in two matrices, times its factor, from element `column` of its row of y on.
fn write_pair(sub: u32, row: Row, tile: vec4u, column: u32, a: Sums, b: Sums, factor: f32) {
  workgroupBarrier();
  store_pair(sub, a, b);
  workgroupBarrier();
  if (row.query >= tile.y) { return; }
  let to = (tile.x + row.query) * params.y_stride + column;
  for (var at = row.lane; at < KEYS / 4u; at += LANES) {
    let value = vec4<f16>(scores[row.query * SCORE_PITCH + at] * factor);
    for (var i = 0u; i < 4u; i++) { y[to + 4u * at + i] = value[i]; }
  }
}

fn write_row(sub: u32, row: Row, tile: vec4u, column: u32, sums: SumRow, factor: f32) {
  write_pair(sub, row, tile, column, sums.a, sums.b, factor);
  write_pair(sub, row, tile, column + KEYS, sums.c, sums.d, factor);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(subgroup_id) sub: u32,
        @builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) id: vec3u) {
  let tile = tiles[id.y];
  let end = tile.w + tile.y;
  let begin = select(0u, tile.w + 1u - min(params.window, tile.w + 1u), params.window > 0u);
  let past = Past(begin, end, tile.z, id.x / params.group);
  let query = sub * M + lane / LANES;
  let own_end = min(tile.w + query + 1u, end);
  let own_begin = select(0u, own_end - min(params.window, own_end), params.window > 0u);
  let row = Row(query, lane % LANES, own_begin, own_end);

  put_queries(index, tile, id.x, 0u);
  var fetched = fetch_keys(index, begin / KEYS * KEYS, past);
  workgroupBarrier();
  let queries0 = load_queries(sub);
  var queries1: Lefts;
  if (QUADS > 1u) {
    workgroupBarrier();
    put_queries(index, tile, id.x, 1u);
    workgroupBarrier();
    queries1 = load_queries(sub);
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
    let found_a = multiply_keys(queries0, 0u, 0u, Sums());
    let found_b = multiply_keys(queries0, N, 0u, Sums());
    if (QUADS > 1u) {
      store_pair(sub, multiply_keys(queries1, 0u, QUAD_CHUNKS, found_a),
                 multiply_keys(queries1, N, QUAD_CHUNKS, found_b));
    } else {
      store_pair(sub, found_a, found_b);
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
      sums0 = scaled_row(sub, row, sums0, shrink);
      if (QUADS > 1u) { sums1 = scaled_row(sub, row, sums1, shrink); }
    }
    let first_weights = load_weights(sub, 0u);
    let second_weights = load_weights(sub, K / 8u);
    sums0 = add_values(first_weights, second_weights, 0u, sums0);
    if (QUADS > 1u) { sums1 = add_values(first_weights, second_weights, 4u * (N / 8u), sums1); }
    workgroupBarrier();
  }
  let factor = 1.0 / row_sum(weight_sum);
  write_row(sub, row, tile, id.x * HEAD_DIM, sums0, factor);
  if (QUADS > 1u) { write_row(sub, row, tile, id.x * HEAD_DIM + 4u * N, sums1, factor); }
}
