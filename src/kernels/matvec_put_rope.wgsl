// Module: the end of the product that makes queries, keys and values in a decode step: bias, RoPE of queries and keys,
// and the write of keys and values to the paged cache. What rope_kv.wgsl does, without a dispatch of its own. Needs
// matvec_output, product_output and an element module.
//
// Gives: row_at: the rows are made in pairs half a head apart, which turn together; Prior and prior, a pair's turn and
// place, asked for before the sums are known; put.
// Shapes: HEADS queries, then KV_HEADS keys, then as many values, of HEAD_DIM rows each: a shard has whole heads.
// y [tokens, all rows], of which only the queries' are written; the cache [pages, KV_HEADS, PAGE_SIZE, HEAD_DIM] for
// keys and for values; cos_sin [tokens, HEAD_DIM / 2]; token_info[t] = (position, slot); page_table [slots,
// pages_per_slot].
// Bindings: 7 keys, 8 values (Element, read and written), 9 cos_sin (cos, sin), 10 token_info, 11 page_table.
// Numerics: f32, then rounded to the cache's type.
// Source: Su et al. 2021, "RoFormer"; Kwon et al. 2023, "PagedAttention".

@group(0) @binding(7) var<storage, read_write> keys: array<Element>;
@group(0) @binding(8) var<storage, read_write> values: array<Element>;
@group(0) @binding(9) var<storage, read> cos_sin: array<vec2f>;
@group(0) @binding(10) var<storage, read> token_info: array<vec2u>;
@group(0) @binding(11) var<storage, read> page_table: array<u32>;

const HALF = HEAD_DIM / 2u;
const HAS_PRIOR = true;

struct Prior {
  turn: vec2f,
  at: u32,      // of the first of the pair: in y, or in the cache
}

/// The row of the shard that is made in place `place`.
fn row_at(place: u32) -> u32 { return place / HEAD_DIM * HEAD_DIM + place % HEAD_DIM / 2u + place % 2u * HALF; }

/// Past the last row, of the last; values are not turned.
fn prior(token: u32, place: u32) -> Prior {
  let row = params.first_row + row_at(min(place, row_count() - 2u));
  let of_token = min(token, params.tokens - 1u);
  let head = row / HEAD_DIM;
  let element = row % HEAD_DIM;
  if (head < HEADS) { return Prior(cos_sin[of_token * HALF + element], of_token * params.y_stride + row); }
  let info = token_info[of_token];
  let page = page_table[info.y * params.pages_per_slot + info.x / PAGE_SIZE];
  let position_row = (page * KV_HEADS + (head - HEADS) % KV_HEADS) * PAGE_SIZE + info.x % PAGE_SIZE;
  let turn = select(vec2f(1.0, 0.0), cos_sin[of_token * HALF + element], head < HEADS + KV_HEADS);
  return Prior(turn, position_row * HEAD_DIM + element);
}

/// Finishes the rows of places `place`, which is even, and `place` + 1, whose value is `next`.
fn put(token: u32, place: u32, value: f32, next: f32, before: Prior) {
  if (token >= params.tokens || place >= row_count() || place % 2u != 0u) { return; }
  let row = row_at(place);
  let low = biased(row, value);
  let high = biased(row + HALF, next);
  let turned = vec2f(low * before.turn.x - high * before.turn.y, high * before.turn.x + low * before.turn.y);
  let head = (params.first_row + row) / HEAD_DIM;
  if (head < HEADS) {
    y[before.at] = turned.x;
    y[before.at + HALF] = turned.y;
  } else if (head < HEADS + KV_HEADS) {
    keys[before.at] = element(turned.x);
    keys[before.at + HALF] = element(turned.y);
  } else {
    values[before.at] = element(turned.x);
    values[before.at + HALF] = element(turned.y);
  }
}
