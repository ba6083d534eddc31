// Module: blocks of KEYS keys or values of a sequence on their way from the paged cache to workgroup memory. They leave
// the cache while others are being multiplied, and wait in registers: so each chunk has a name, and there are eight.
//
// Gives: Past, what the queries of a tile see; fetch_keys and fetch_values, an invocation's share of a block (Fetched);
// put, which writes it to `tile_keys`, rows of CHUNKS at a distance of PITCH. Chunks are those of a kv_halves module.
// Numerics: those of the kv_halves module.

const ITEMS = KEYS * CHUNKS;
const FETCHES = (ITEMS + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;

/// Chunks as they are stored in the cache.
struct Fetched { a: vec4u, b: vec4u, c: vec4u, d: vec4u, e: vec4u, f: vec4u, g: vec4u, h: vec4u }

/// What the tile sees: positions from `begin` to before `end`, of which `slot` tells the pages.
struct Past { begin: u32, end: u32, slot: u32, head: u32 }

/// The row of the cache with `item` of the block of keys from `first` on; one of the past in any case.
fn row_at(item: u32, first: u32, past: Past) -> u32 {
  let position = clamp(first + item / CHUNKS, past.begin, past.end - 1u);
  let page = page_table[past.slot * params.pages_per_slot + position / PAGE_SIZE];
  return ((page * params.kv_heads + past.head) * PAGE_SIZE + position % PAGE_SIZE) * ROW_CHUNKS;
}

/// Whether a block has this item: the last fetch may be of some invocations only.
fn is_item(item: u32) -> bool { return ITEMS % WORKGROUP_SIZE == 0u || item < ITEMS; }

fn key_at(item: u32, first: u32, past: Past) -> vec4u {
  if (!is_item(item)) { return vec4u(); }
  return key_chunk(row_at(item, first, past), item % CHUNKS);
}
fn value_at(item: u32, first: u32, past: Past) -> vec4u {
  if (!is_item(item)) { return vec4u(); }
  return value_chunk(row_at(item, first, past), item % CHUNKS);
}

fn fetch_keys(index: u32, first: u32, past: Past) -> Fetched {
  var to: Fetched;
  to.a = key_at(index, first, past);
  if (FETCHES > 1u) { to.b = key_at(index + WORKGROUP_SIZE, first, past); }
  if (FETCHES > 2u) { to.c = key_at(index + 2u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 3u) { to.d = key_at(index + 3u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 4u) { to.e = key_at(index + 4u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 5u) { to.f = key_at(index + 5u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 6u) { to.g = key_at(index + 6u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 7u) { to.h = key_at(index + 7u * WORKGROUP_SIZE, first, past); }
  return to;
}

fn fetch_values(index: u32, first: u32, past: Past) -> Fetched {
  var to: Fetched;
  to.a = value_at(index, first, past);
  if (FETCHES > 1u) { to.b = value_at(index + WORKGROUP_SIZE, first, past); }
  if (FETCHES > 2u) { to.c = value_at(index + 2u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 3u) { to.d = value_at(index + 3u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 4u) { to.e = value_at(index + 4u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 5u) { to.f = value_at(index + 5u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 6u) { to.g = value_at(index + 6u * WORKGROUP_SIZE, first, past); }
  if (FETCHES > 7u) { to.h = value_at(index + 7u * WORKGROUP_SIZE, first, past); }
  return to;
}

fn put_chunk(item: u32, chunk: vec4u) {
  if (is_item(item)) { tile_keys[item / CHUNKS * PITCH + item % CHUNKS] = halves(chunk); }
}

fn put(index: u32, fetched: Fetched) {
  put_chunk(index, fetched.a);
  if (FETCHES > 1u) { put_chunk(index + WORKGROUP_SIZE, fetched.b); }
  if (FETCHES > 2u) { put_chunk(index + 2u * WORKGROUP_SIZE, fetched.c); }
  if (FETCHES > 3u) { put_chunk(index + 3u * WORKGROUP_SIZE, fetched.d); }
  if (FETCHES > 4u) { put_chunk(index + 4u * WORKGROUP_SIZE, fetched.e); }
  if (FETCHES > 5u) { put_chunk(index + 5u * WORKGROUP_SIZE, fetched.f); }
  if (FETCHES > 6u) { put_chunk(index + 6u * WORKGROUP_SIZE, fetched.g); }
  if (FETCHES > 7u) { put_chunk(index + 7u * WORKGROUP_SIZE, fetched.h); }
}
