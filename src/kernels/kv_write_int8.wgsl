// Writes the keys and values of a batch of tokens into the paged cache of one layer, as int8 with a scale for each
// head of a position:
//   scale = max |x| / 127, row[i] = round(x[i] / scale) with x = k[t, h, :] or v[t, h, :]
// for a token t at position p of the sequence in `slot`; the row's place is as in kv_write.wgsl.
//
// Shapes: qkv rows as in kv_write.wgsl, in vec4s; the cache [pages, kv_heads, PAGE_SIZE] rows of QUARTERS words with
// four elements each, a word with the scale in f32, and one that is 0. QUARTERS = head_dim / 4.
// Bindings: 1 qkv f32 as vec4, 2 token_info (position, slot), 3 page_table, 4 keys, 5 values.
// Dispatch: x = key head, y = token, z = 0 for keys and 1 for values; workgroups of WORKGROUP_SIZE.
// Numerics: off by scale / 2 at most; a head of zeros has the scale 0.
// Source: Kwon et al. 2023, "PagedAttention"; absolute-maximum quantisation as in Dettmers et al. 2022, "LLM.int8()".

struct Params {
  kv_heads: u32,
  stride: u32,         // of a qkv row, in vec4s
  k_offset: u32,
  v_offset: u32,
  pages_per_slot: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> values: array<u32>;

fn store(at: u32, is_value: bool, word: u32) {
  if (is_value) { values[at] = word; } else { keys[at] = word; }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(lanes: Lanes, @builtin(workgroup_id) id: vec3u) {
  let is_value = id.z == 1u;
  let source = id.y * params.stride + select(params.k_offset, params.v_offset, is_value) + id.x * QUARTERS;
  var largest = vec4f(0.0);
  for (var i = lanes.index; i < QUARTERS; i += WORKGROUP_SIZE) { largest = max(largest, abs(qkv[source + i])); }
  let scale = workgroup_max(max(max(largest.x, largest.y), max(largest.z, largest.w)), lanes) / 127.0;
  let inverse = select(0.0, 1.0 / scale, scale > 0.0);
  let info = token_info[id.y];
  let page = page_table[info.y * params.pages_per_slot + info.x / PAGE_SIZE];
  let row = (page * params.kv_heads + id.x) * PAGE_SIZE + info.x % PAGE_SIZE;
  let start = row * (QUARTERS + 2u);
  for (var i = lanes.index; i < QUARTERS; i += WORKGROUP_SIZE) {
    store(start + i, is_value, pack4xI8(vec4i(round(qkv[source + i] * inverse))));
  }
  if (lanes.index == 0u) {
    store(start + QUARTERS, is_value, bitcast<u32>(scale));
    store(start + QUARTERS + 1u, is_value, 0u);
  }
}
