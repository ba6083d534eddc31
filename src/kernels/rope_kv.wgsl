// Rotary position embedding of queries, in place, and of keys on their way into the paged cache of one layer, with
// the values:
//   x'[i]        = x[i] * cos[t, i] - x[i + half] * sin[t, i]
//   x'[i + half] = x[i + half] * cos[t, i] + x[i] * sin[t, i]        for i < half = HEAD_DIM / 2
//   keys[page, h, p % PAGE_SIZE, :] = k'[t, h, :], values likewise, page = page_table[slot, p / PAGE_SIZE]
// for a token t at position p of the sequence in `slot`. What rope.wgsl and kv_write.wgsl do, in one dispatch.
//
// Shapes: qkv [tokens, heads + 2 kv_heads, HEAD_DIM] in rows of `stride` vec4s; cos_sin [tokens, half] of (cos, sin);
// the cache [pages, kv_heads, PAGE_SIZE, HEAD_DIM] in chunks of 8 for keys and for values; token_info[t] = (position in its
// sequence, slot of its sequence); page_table [slots, pages_per_slot]. HEAD_DIM is a multiple of 16.
// Bindings: 1 cos_sin as vec4 (two pairs), 2 token_info, 3 page_table, 4 qkv f32 as vec4, read and written, 5 keys, 6
// values (KvChunk module without scales).
// Dispatch: x over (heads + kv_heads) * HEAD_DIM / 16 in groups of WORKGROUP_SIZE: 8 elements and those a half further;
// y = token.
// Numerics: f32, then rounded to the cache's type. The keys in qkv stay as they are.
// Source: Su et al. 2021, "RoFormer"; Kwon et al. 2023, "PagedAttention".

struct Params {
  heads: u32,
  kv_heads: u32,
  stride: u32,
  pages_per_slot: u32,
}

@group(0) @binding(1) var<storage, read> cos_sin: array<vec4f>;
@group(0) @binding(2) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> keys: array<KvChunk>;
@group(0) @binding(6) var<storage, read_write> values: array<KvChunk>;

const CHUNKS = HEAD_DIM / 8u;     // as the module calls them
const HALF = HEAD_DIM / 8u;       // in vec4s
const HALF_CHUNKS = HEAD_DIM / 16u;

struct Turned { low: vec4f, high: vec4f }

/// Four elements from `at` on and those a half further, turned.
fn turned(at: u32, turn: u32) -> Turned {
  let first = cos_sin[turn];
  let second = cos_sin[turn + 1u];
  let cosines = vec4f(first.xz, second.xz);
  let sines = vec4f(first.yw, second.yw);
  let a = qkv[at];
  let b = qkv[at + HALF];
  return Turned(a * cosines - b * sines, b * cosines + a * sines);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= (params.heads + params.kv_heads) * HALF_CHUNKS) { return; }
  let head = id.x / HALF_CHUNKS;
  let chunk = id.x % HALF_CHUNKS;
  let at = id.y * params.stride + head * (2u * HALF) + 2u * chunk;
  let turn = id.y * (HEAD_DIM / 4u) + 4u * chunk;
  let first = turned(at, turn);
  let second = turned(at + 1u, turn + 2u);
  if (head < params.heads) {
    qkv[at] = first.low;
    qkv[at + 1u] = second.low;
    qkv[at + HALF] = first.high;
    qkv[at + HALF + 1u] = second.high;
    return;
  }
  let info = token_info[id.y];
  let page = page_table[info.y * params.pages_per_slot + info.x / PAGE_SIZE];
  let kv_head = head - params.heads;
  let to = ((page * params.kv_heads + kv_head) * PAGE_SIZE + info.x % PAGE_SIZE) * (2u * HALF_CHUNKS) + chunk;
  keys[to] = pack_chunk(first.low, second.low, 1.0);
  keys[to + HALF_CHUNKS] = pack_chunk(first.high, second.high, 1.0);
  let value = at + params.kv_heads * (2u * HALF);
  values[to] = pack_chunk(qkv[value], qkv[value + 1u], 1.0);
  values[to + HALF_CHUNKS] = pack_chunk(qkv[value + HALF], qkv[value + HALF + 1u], 1.0);
}
