// Writes the keys and values of a batch of tokens into the paged cache of one layer:
//   keys[page, h, p % PAGE_SIZE, i] = k[t, h, i], values likewise, page = page_table[slot, p / PAGE_SIZE]
// for a token t at position p of the sequence in `slot`.
//
// Shapes: PAIRS = head_dim / 2. qkv [tokens, …] holds keys at pair k_offset and values at pair v_offset of each row,
// each [kv_heads, head_dim]; the cache is [pages, kv_heads, PAGE_SIZE, head_dim] for keys and for values.
// token_info[t] = (position in its sequence, slot of its sequence); page_table [slots, pages_per_slot].
// Bindings: 1 qkv f32 pairs, 2 token_info, 3 page_table, 4 keys, 5 values (KvPair module).
// Dispatch: x over kv_heads * head_dim / 2 in groups of WORKGROUP_SIZE, y = token.
// Numerics: rounds to the cache's type.
// Source: Kwon et al. 2023, "PagedAttention".

struct Params {
  kv_heads: u32,
  stride: u32,         // of a qkv row, in pairs
  k_offset: u32,
  v_offset: u32,
  pages_per_slot: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(1) var<storage, read> qkv: array<vec2f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<KvPair>;
@group(0) @binding(5) var<storage, read_write> values: array<KvPair>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.kv_heads * PAIRS) { return; }
  let info = token_info[id.y];
  let page = page_table[info.y * params.pages_per_slot + info.x / PAGE_SIZE];
  let head = id.x / PAIRS;
  let at = ((page * params.kv_heads + head) * PAGE_SIZE + info.x % PAGE_SIZE) * PAIRS + id.x % PAIRS;
  let source = id.y * params.stride + id.x;
  keys[at] = pack_pair(qkv[source + params.k_offset]);
  values[at] = pack_pair(qkv[source + params.v_offset]);
}
