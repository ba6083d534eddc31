// Tiled matrix-matrix product: y[t, first_row + r] = sum_k x[t, k] * W[r, k] (+ bias[first_row + r])
// For prompts (prefill): each weight is read once per 64 tokens.
//
// Shapes: W [rows, columns] (one row shard), x [tokens, columns], y [tokens, all rows], bias [all rows].
// Bindings: 1 and 2 W (weight module), 3 x f32 as vec4, 4 bias f32 (any buffer without HAS_BIAS), 5 y f32.
// Dispatch: workgroups of 256; x = tile of 64 rows of W (folded into y), z = tile of 64 tokens. Each
// invocation makes a 4 x 4 block of y. Tiles of 16 columns pass through workgroup memory (8.5 KiB).
// Numerics: decoded to f32, f32 products and sums. Rows, tokens and columns past the last are zero in
// the tiles and not written, so padding may hold NaN.
// Source: the linear layers of Vaswani et al. 2017; biases as in Qwen2. Tiling: Goto & van de Geijn 2008,
// "Anatomy of High-Performance Matrix Multiplication".

struct Params {
  rows: u32,
  columns: u32,
  tokens: u32,
  x_stride: u32,  // in vec4s
  y_stride: u32,  // in elements
  first_row: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const TILE = 64u;    // tokens and rows of a tile
const DEPTH = 16u;   // columns of a tile
const PITCH = 68u;   // elements from one column of a tile to the next: 64 would meet in the same bank

var<workgroup> x_tile: array<f32, DEPTH * PITCH>;  // [column][token]
var<workgroup> w_tile: array<f32, DEPTH * PITCH>;  // [column][row]

fn masked(values: vec4f, first_column: u32, valid: bool) -> vec4f {
  return select(vec4f(0.0), values, (vec4u(0u, 1u, 2u, 3u) + first_column < vec4u(params.columns)) & vec4<bool>(valid));
}

/// Loads columns column … column + 15 of 64 tokens: a vec4 for each of the 256 invocations.
fn load_x(index: u32, first_token: u32, column: u32) {
  let token = index / 4u;
  let part = index % 4u;
  let valid = first_token + token < params.tokens;
  let source = min(first_token + token, params.tokens - 1u) * params.x_stride + column / 4u + part;
  let values = masked(x[source], column + 4u * part, valid);
  for (var i = 0u; i < 4u; i++) { x_tile[(4u * part + i) * PITCH + token] = values[i]; }
}

/// Loads the same columns of 64 rows of W: a chunk of 8 for each of the first 128 invocations.
fn load_w(index: u32, first: u32, column: u32) {
  if (index >= 2u * TILE) { return; }
  let row = index / 2u;
  let part = index % 2u;
  let chunks = (params.columns + 7u) / 8u;
  let chunk = column / 8u + part;
  let valid = first + row < params.rows && chunk < chunks;
  let values = load_chunk(min(first + row, params.rows - 1u) * row_chunks(params.columns) + min(chunk, chunks - 1u));
  let low = masked(values.low, column + 8u * part, valid);
  let high = masked(values.high, column + 8u * part + 4u, valid);
  for (var i = 0u; i < 4u; i++) {
    w_tile[(8u * part + i) * PITCH + row] = low[i];
    w_tile[(8u * part + 4u + i) * PITCH + row] = high[i];
  }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let first = (group.x + group.y * groups.x) * TILE;
  if (first >= params.rows) { return; }
  let first_token = group.z * TILE;
  let token = 4u * (index / 16u);  // of this invocation's block, within the tile
  let row = 4u * (index % 16u);
  var sums = array<vec4f, 4>();
  for (var column = 0u; column < params.columns; column += DEPTH) {
    load_x(index, first_token, column);
    load_w(index, first, column);
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let at = k * PITCH + row;
      let w = vec4f(w_tile[at], w_tile[at + 1u], w_tile[at + 2u], w_tile[at + 3u]);
      for (var i = 0u; i < 4u; i++) { sums[i] += x_tile[k * PITCH + token + i] * w; }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      if (first_token + token + i >= params.tokens || first + row + j >= params.rows) { continue; }
      var value = sums[i][j];
      if (HAS_BIAS) { value += bias[params.first_row + first + row + j]; }
      y[(first_token + token + i) * params.y_stride + params.first_row + first + row + j] = value;
    }
  }
}
