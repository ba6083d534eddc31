// Embedding lookup: y[t, :] = W[tokens[t], :]
//
// Shapes: W [vocab_size, columns] (one row shard of it), tokens [count], y [count, columns].
// Bindings: 1 and 2 W (weight module), 3 tokens u32, 4 y f32 (rows of `stride` vec4s).
// Dispatch: x over chunks of 8 elements in groups of WORKGROUP_SIZE, y = token. With several row
// shards one dispatch runs per shard, and each token is written by the shard that holds its row.
// Numerics: a copy, exact. The vec4 with the last column is written whole: y's padding in it becomes W's.
// Source: the input layer of Vaswani et al. 2017, without the factor sqrt(d), as in Llama.

struct Params {
  columns: u32,
  chunks: u32,     // of a row of y
  stride: u32,     // of y, in vec4s
  first_row: u32,  // of this shard
  rows: u32,       // in this shard
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(3) var<storage, read> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let chunk = id.x;
  let token = tokens[id.y];
  if (chunk >= params.chunks || token < params.first_row || token >= params.first_row + params.rows) { return; }
  let values = load_chunk((token - params.first_row) * row_chunks(params.columns) + chunk);
  let at = id.y * params.stride + 2u * chunk;
  y[at] = values.low;
  if (chunk * 8u + 4u < params.columns) { y[at + 1u] = values.high; }
}
