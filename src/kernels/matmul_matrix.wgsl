// Matrix-matrix product on matrix units: value[t, first_row + r] = sum_k x[t, k] * W[r, k] (+ bias[first_row + r])
// For prompts (prefill), with x in f16.
//
// Shapes: W [rows, COLUMNS] (one row shard), x f16 [tokens, COLUMNS], bias [all rows], y:
//   OUTPUT_STORE   y[t, r] = value                        [tokens, all rows]
//   OUTPUT_ADD     y[t, r] += value (the residual)        [tokens, all rows]
//   OUTPUT_SWIGLU  y[t, r / 2] = silu(value of row r) * value of row r + 1, for even r; gate and up rows
//                  alternate                              [tokens, all rows / 2]
// Bindings: 1 and 2 W (halves module), 3 x f16 in chunks of 8, 4 bias f32 (any buffer without HAS_BIAS), 5 y
// (element module).
// Dispatch: workgroups of WORKGROUP_SIZE, a tile of TILE_TOKENS x TILE_ROWS each; x and y: tiles, those of the same
// rows of W one after the other, so that these come from the cache. Each subgroup keeps SUB_TOKENS x SUB_ROWS sums in
// its registers, as matrices of M tokens x N rows, at most 4 x 4 of them. DEPTH columns at a time pass through
// workgroup memory, in one of BUFFERS (1 or 2: less memory or fewer barriers), while the next are on their way, AHEAD
// (1 or 2) times DEPTH of them. SLICES subgroups share the DEPTH columns of the same sums, which are added at the end.
// With SPLITS above 1 the columns are shared out, by z: y is f32 [SPLITS, tokens, rows], which matmul_join.wgsl
// finishes.
// Numerics: products of f16, sums in f32, in the order of the columns up to what a matrix unit does with K of them.
// Columns past the last count as 0; rows and tokens past the last are not written, so padding may hold NaN.
// Source: the linear layers of Vaswani et al. 2017; He et al. 2015 (residual), Shazeer 2020 (SwiGLU). Tiling: Goto &
// van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"; matrix units: Markidis et al. 2018.

@group(0) @binding(3) var<storage, read> x: array<vec4u>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<Element>;

alias Left = subgroup_matrix_left<f16, K, M>;     // M tokens x K columns
alias Right = subgroup_matrix_right<f16, N, K>;   // K columns x N rows of W
alias Sums = subgroup_matrix_result<f32, N, M>;

const CHUNKS = DEPTH / 8u;               // of a row of a tile
const PITCH = CHUNKS + 1u;               // from one row of a tile to the next: so that rows begin in different banks
const X_CHUNKS = (COLUMNS + 7u) / 8u;    // of a row of x
const STEPS = (COLUMNS + DEPTH - 1u) / DEPTH;
const TILE = (TILE_TOKENS + TILE_ROWS) * PITCH;
const LEFTS = SUB_TOKENS / M;
const RIGHTS = SUB_ROWS / N;
const SUBS_ACROSS = TILE_ROWS / SUB_ROWS;
const SUBS = SUBS_ACROSS * (TILE_TOKENS / SUB_TOKENS);  // in a slice
const SLICE = CHUNKS / SLICES;  // chunks of a row of a tile that a subgroup multiplies

// Buffers of tiles: tokens, then rows. At the end, strips of sums: of each subgroup M tokens x SUB_ROWS in f32.
const STRIP_PITCH = SUB_ROWS / 4u + 1u;
const STRIP = M * STRIP_PITCH;
var<workgroup> tiles: array<vec4u, max(BUFFERS * TILE, SLICES * SUBS * STRIP)>;

const X_ITEMS = TILE_TOKENS * CHUNKS;
const W_PIECES = DEPTH / PIECE_COLUMNS;  // of a row of a tile
const W_ITEMS = TILE_ROWS * W_PIECES;

// What an invocation carries from memory to the tiles: items index, index + WORKGROUP_SIZE, … of each, at most four.
// They have names, as arrays would go through memory.
struct Loads { x0: vec4u, x1: vec4u, x2: vec4u, x3: vec4u, w0: Piece, w1: Piece, w2: Piece, w3: Piece }

/// Where things lie for one workgroup.
struct Place { first_token: u32, first_row: u32 }

// Indices past the last row, token or column read the last one.
fn load_x(item: u32, step: u32, place: Place) -> vec4u {
  let token = min(place.first_token + item / CHUNKS, params.tokens - 1u);
  return x[token * X_CHUNKS + min(step * CHUNKS + item % CHUNKS, X_CHUNKS - 1u)];
}

fn load_w(item: u32, step: u32, place: Place) -> Piece {
  let row = min(place.first_row + item / W_PIECES, params.rows - 1u);
  return load_piece(row * ROW_PIECES + min(step * W_PIECES + item % W_PIECES, ROW_PIECES - 1u));
}

/// Reads DEPTH columns from `step` * DEPTH on.
fn load(index: u32, step: u32, place: Place) -> Loads {
  var loads: Loads;
  loads.x0 = load_x(index, step, place);
  loads.w0 = load_w(index, step, place);
  if (X_ITEMS > WORKGROUP_SIZE) { loads.x1 = load_x(index + WORKGROUP_SIZE, step, place); }
  if (W_ITEMS > WORKGROUP_SIZE) { loads.w1 = load_w(index + WORKGROUP_SIZE, step, place); }
  if (X_ITEMS > 2u * WORKGROUP_SIZE) { loads.x2 = load_x(index + 2u * WORKGROUP_SIZE, step, place); }
  if (X_ITEMS > 3u * WORKGROUP_SIZE) { loads.x3 = load_x(index + 3u * WORKGROUP_SIZE, step, place); }
  if (W_ITEMS > 2u * WORKGROUP_SIZE) { loads.w2 = load_w(index + 2u * WORKGROUP_SIZE, step, place); }
  if (W_ITEMS > 3u * WORKGROUP_SIZE) { loads.w3 = load_w(index + 3u * WORKGROUP_SIZE, step, place); }
  return loads;
}

/// Zeroes the halves of a chunk whose column is not below COLUMNS.
fn masked(chunk: vec4u, first_column: u32) -> vec4u {
  if (COLUMNS % DEPTH == 0u) { return chunk; }
  let even = select(vec4u(0u), chunk & vec4u(0xffffu), vec4u(0u, 2u, 4u, 6u) + first_column < vec4u(COLUMNS));
  let odd = select(vec4u(0u), chunk & vec4u(0xffff0000u), vec4u(1u, 3u, 5u, 7u) + first_column < vec4u(COLUMNS));
  return even | odd;
}

fn put_x(item: u32, step: u32, buffer: u32, value: vec4u) {
  if (X_ITEMS % WORKGROUP_SIZE != 0u && item >= X_ITEMS) { return; }
  let chunk = item % CHUNKS;
  tiles[buffer + item / CHUNKS * PITCH + chunk] = masked(value, step * DEPTH + 8u * chunk);
}

fn put_w(item: u32, step: u32, buffer: u32, value: Piece) {
  if (W_ITEMS % WORKGROUP_SIZE != 0u && item >= W_ITEMS) { return; }
  const EACH = PIECE_COLUMNS / 8u;
  let row = item / W_PIECES;
  let at = buffer + (TILE_TOKENS + row) * PITCH;
  var turn = 0u;  // so that neighbours write to different banks
  if (CHUNKS > 8u) { turn = item / (8u / EACH) + row * (EACH - 1u); }
  for (var i = 0u; i < EACH; i++) {
    let c = (i + turn) % EACH;
    let chunk = item % W_PIECES * EACH + c;
    tiles[at + chunk] = masked(halves(value, c), step * DEPTH + 8u * chunk);
  }
}

/// Puts what was read into a buffer of tiles.
fn put(index: u32, step: u32, buffer: u32, loads: Loads) {
  put_x(index, step, buffer, loads.x0);
  put_w(index, step, buffer, loads.w0);
  if (X_ITEMS > WORKGROUP_SIZE) { put_x(index + WORKGROUP_SIZE, step, buffer, loads.x1); }
  if (W_ITEMS > WORKGROUP_SIZE) { put_w(index + WORKGROUP_SIZE, step, buffer, loads.w1); }
  if (X_ITEMS > 2u * WORKGROUP_SIZE) { put_x(index + 2u * WORKGROUP_SIZE, step, buffer, loads.x2); }
  if (X_ITEMS > 3u * WORKGROUP_SIZE) { put_x(index + 3u * WORKGROUP_SIZE, step, buffer, loads.x3); }
  if (W_ITEMS > 2u * WORKGROUP_SIZE) { put_w(index + 2u * WORKGROUP_SIZE, step, buffer, loads.w2); }
  if (W_ITEMS > 3u * WORKGROUP_SIZE) { put_w(index + 3u * WORKGROUP_SIZE, step, buffer, loads.w3); }
}

/// Element `at` of the strips: the sum of those of all slices.
fn strip_value(at: u32) -> f32 {
  var sum = 0.0;
  for (var slice = 0u; slice < SLICES; slice++) {
    sum += bitcast<f32>(tiles[slice * (SUBS * STRIP) + at / 4u][at % 4u]);
  }
  return sum;
}

/// Finishes strip number `strip` of all subgroups: M tokens of each.
fn finish(index: u32, strip: u32, split: u32, first_token: u32, first_row: u32) {
  const STEP = select(WIDTH, 1u, SPLITS > 1u);  // rows for one store
  const ACROSS = SUB_ROWS / STEP;
  for (var item = index; item < SUBS * M * ACROSS; item += WORKGROUP_SIZE) {
    let sub = item / (M * ACROSS);
    let line = item / ACROSS % M;
    let at = 4u * (sub * STRIP + line * STRIP_PITCH) + item % ACROSS * STEP;
    let token = first_token + sub / SUBS_ACROSS * SUB_TOKENS + strip * M + line;
    let row = first_row + sub % SUBS_ACROSS * SUB_ROWS + item % ACROSS * STEP;
    if (token >= params.tokens || row >= params.rows) { continue; }
    if (SPLITS > 1u) {
      y[(split * params.tokens + token) * params.rows + row] = element(strip_value(at));
    } else {
      put_row(token, row, strip_value(at), strip_value(at + STEP - 1u));
    }
  }
}

// Compilers keep matrices in registers that have names, not arrays of them: so up to 4 x 4 have names.
struct Lefts { a: Left, b: Left, c: Left, d: Left }
struct Rights { a: Right, b: Right, c: Right, d: Right }
struct SumRow { a: Sums, b: Sums, c: Sums, d: Sums }
struct AllSums { a: SumRow, b: SumRow, c: SumRow, d: SumRow }  // of M tokens each

fn load_left(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tiles, at, PITCH); }
fn load_right(at: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&tiles, at, PITCH); }

fn load_lefts(at: u32) -> Lefts {
  var lefts: Lefts;
  lefts.a = load_left(at);
  if (LEFTS > 1u) { lefts.b = load_left(at + M * PITCH); }
  if (LEFTS > 2u) {
    lefts.c = load_left(at + 2u * M * PITCH);
    lefts.d = load_left(at + 3u * M * PITCH);
  }
  return lefts;
}

fn load_rights(at: u32) -> Rights {
  var rights: Rights;
  rights.a = load_right(at);
  if (RIGHTS > 1u) { rights.b = load_right(at + N * PITCH); }
  if (RIGHTS > 2u) {
    rights.c = load_right(at + 2u * N * PITCH);
    rights.d = load_right(at + 3u * N * PITCH);
  }
  return rights;
}

fn multiply(left: Left, rights: Rights, sums: SumRow) -> SumRow {
  var next = sums;
  next.a = subgroupMatrixMultiplyAccumulate(left, rights.a, sums.a);
  if (RIGHTS > 1u) { next.b = subgroupMatrixMultiplyAccumulate(left, rights.b, sums.b); }
  if (RIGHTS > 2u) {
    next.c = subgroupMatrixMultiplyAccumulate(left, rights.c, sums.c);
    next.d = subgroupMatrixMultiplyAccumulate(left, rights.d, sums.d);
  }
  return next;
}

fn multiply_all(lefts: Lefts, rights: Rights, sums: AllSums) -> AllSums {
  var next = sums;
  next.a = multiply(lefts.a, rights, sums.a);
  if (LEFTS > 1u) { next.b = multiply(lefts.b, rights, sums.b); }
  if (LEFTS > 2u) {
    next.c = multiply(lefts.c, rights, sums.c);
    next.d = multiply(lefts.d, rights, sums.d);
  }
  return next;
}

fn store_strip(sub: u32, sums: SumRow) {
  let at = sub * STRIP;
  subgroupMatrixStore<row_major>(&tiles, at, sums.a, STRIP_PITCH);
  if (RIGHTS > 1u) { subgroupMatrixStore<row_major>(&tiles, at + N / 4u, sums.b, STRIP_PITCH); }
  if (RIGHTS > 2u) {
    subgroupMatrixStore<row_major>(&tiles, at + 2u * (N / 4u), sums.c, STRIP_PITCH);
    subgroupMatrixStore<row_major>(&tiles, at + 3u * (N / 4u), sums.d, STRIP_PITCH);
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) index: u32, @builtin(subgroup_id) subgroup: u32,
        @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let token_tiles = (params.tokens + TILE_TOKENS - 1u) / TILE_TOKENS;
  let tile = group.x + group.y * groups.x;
  let first_row = tile / token_tiles * TILE_ROWS;
  let first_token = tile % token_tiles * TILE_TOKENS;
  if (first_row >= params.rows) { return; }
  let sub = min(subgroup, SLICES * SUBS - 1u);  // there are more where subgroups are smaller than the device's largest
  let own_chunk = sub / SUBS * SLICE;
  let own_tokens = sub % SUBS / SUBS_ACROSS * SUB_TOKENS * PITCH + own_chunk;
  let own_rows = (TILE_TOKENS + sub % SUBS_ACROSS * SUB_ROWS) * PITCH + own_chunk;

  var sums: AllSums;
  let place = Place(first_token, first_row);
  let first_step = group.z * STEPS / SPLITS;
  let end_step = (group.z + 1u) * STEPS / SPLITS;
  var next = load(index, first_step, place);
  put(index, first_step, first_step % BUFFERS * TILE, next);
  workgroupBarrier();
  if (AHEAD == 2u) { next = load(index, min(first_step + 1u, STEPS - 1u), place); }
  for (var step = first_step; step < end_step; step++) {
    let later = load(index, min(step + AHEAD, STEPS - 1u), place);
    if (AHEAD == 1u) { next = later; }
    let buffer = step % BUFFERS * TILE;
    for (var k = 0u; k < SLICE; k += K / 8u) {
      let rights = load_rights(buffer + own_rows + k);
      let lefts = load_lefts(buffer + own_tokens + k);
      sums = multiply_all(lefts, rights, sums);
    }
    if (BUFFERS == 1u) { workgroupBarrier(); }
    put(index, step + 1u, (step + 1u) % BUFFERS * TILE, next);
    workgroupBarrier();
    if (AHEAD == 2u) { next = later; }
  }
  for (var l = 0u; l < LEFTS; l++) {
    switch (l) {
      case 0u: { store_strip(sub, sums.a); }
      case 1u: { store_strip(sub, sums.b); }
      case 2u: { store_strip(sub, sums.c); }
      default: { store_strip(sub, sums.d); }
    }
    workgroupBarrier();
    finish(index, l, group.z, first_token, first_row);
    workgroupBarrier();
  }
}
