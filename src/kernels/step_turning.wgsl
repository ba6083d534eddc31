// Module: queries and the new position of attention_step.wgsl, from a row of the product that made them: q and k norms
// (HAS_NORM), RoPE, and the write of the new key and value to the cache.
//
// Gives: keys and values; NEW_POSITIONS, how many of the cache's positions are new; query_chunk; seen_before: the new position, of the last split's first part.
// Bindings: 4 keys, 5 values (KvChunk module, read and written), 6 cos_sin f32 as vec4 (of two pairs of elements); the
// norm module's.
// Numerics: f32. The new key and value are rounded to the cache's type before they are used.
// Source: rope.wgsl, head_norm.wgsl.

@group(0) @binding(4) var<storage, read_write> keys: array<KvChunk>;
@group(0) @binding(5) var<storage, read_write> values: array<KvChunk>;
@group(0) @binding(6) var<storage, read> cos_sin: array<vec4f>;

const NEW_POSITIONS = 0u;

/// RoPE of vec4 `quarter` of the head that starts at `start`: its elements turn with those half a head away.
fn turned_quarter(start: u32, quarter: u32, token: u32, norm_start: u32, factor: f32) -> vec4f {
  let is_low = quarter < CHUNKS;
  let pair = select(quarter - CHUNKS, quarter, is_low);
  let other = select(quarter - CHUNKS, quarter + CHUNKS, is_low);
  let first_two = cos_sin[(token * CHUNKS + pair) * 2u];
  let last_two = cos_sin[(token * CHUNKS + pair) * 2u + 1u];
  var own_values = qkv[start + quarter];
  var other_values = qkv[start + other];
  if (HAS_NORM) {
    own_values *= factor * norm_at(norm_start + quarter);
    other_values *= factor * norm_at(norm_start + other);
  }
  let sines = vec4f(first_two.yw, last_two.yw);
  return own_values * vec4f(first_two.xz, last_two.xz) + other_values * select(sines, -sines, is_low);
}

/// Chunk `chunk` of a query or key: normalised and turned.
fn turned(start: u32, chunk: u32, token: u32, norm_start: u32, part: Part) -> Chunk {
  var factor = 1.0;
  if (HAS_NORM) {
    let own = Chunk(qkv[start + 2u * chunk], qkv[start + 2u * chunk + 1u]);
    let square = select(0.0, dot8(own, own), part.lane < CHUNKS);
    factor = 1.0 / sqrt(part_sum4(vec4f(square), part).x / f32(4u * QUARTERS) + params.epsilon);
  }
  return Chunk(turned_quarter(start, 2u * chunk, token, norm_start, factor),
               turned_quarter(start, 2u * chunk + 1u, token, norm_start, factor));
}

fn query_chunk(start: u32, chunk: u32, token: u32, part: Part) -> Chunk {
  return turned(start, chunk, token, 0u, part);
}

/// The scale with which a part stores a key or value of which each lane has a chunk.
fn scale_for(chunk: Chunk, part: Part) -> f32 {
  if (!HAS_SCALE) { return 1.0; }
  let four = max(abs(chunk.low), abs(chunk.high));
  return part_max(max(max(four.x, four.y), max(four.z, four.w)), part) / 127.0;
}

/// `has_new`: whether the part has the new position; `is_first`: whether the workgroup writes it.
fn seen_before(place: Place, part: Part, has_new: bool, is_first: bool, chunk: u32, query0: Chunk,
               query1: Chunk) -> Start {
  let lane = part.lane;
  let row = place.token * params.qkv_stride;
  let key_start = row + (params.kv_heads * params.groups_per_kv * GROUP + place.kv_head) * QUARTERS;
  let value_start = key_start + params.kv_heads * QUARTERS + 2u * chunk;
  let key = turned(key_start, chunk, place.token, QUARTERS, part);
  let value = Chunk(qkv[value_start], qkv[value_start + 1u]);
  let key_scale = scale_for(key, part);
  let value_scale = scale_for(value, part);
  let new_key = settled(pack_chunk(key.low, key.high, key_scale), params.zero);
  let new_value = settled(pack_chunk(value.low, value.high, value_scale), params.zero);
  if (has_new && is_first && lane < CHUNKS) {
    let own_row = locate(place, place.own);
    keys[own_row + lane] = new_key;
    values[own_row + lane] = new_value;
    if (HAS_SCALE && lane == 0u) {
      keys[own_row + CHUNKS] = scale_chunk(key_scale);
      values[own_row + CHUNKS] = scale_chunk(value_scale);
    }
  }
  let stored_key = unpacked(new_key, key_scale);
  let new_scores = part_sum4(vec4f(dot8(query0, stored_key), dot8(query1, stored_key), 0.0, 0.0), part);
  let start = select(vec2f(LOWEST), new_scores.xy, has_new);
  let one = select(0.0, 1.0, has_new);
  let stored_value = unpacked(new_value, value_scale);
  let sum = Chunk(one * stored_value.low, one * stored_value.high);
  return Start(Seen(start.x, one, sum), Seen(start.y, one, sum));
}
