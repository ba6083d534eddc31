// Module: queries of attention_step.wgsl where the product that made them has turned them and has written the new keys
// and values to the cache (matvec_put_rope.wgsl): the new position is one like the others.
//
// Gives: keys and values; NEW_POSITIONS, how many of the cache's positions are new; query_chunk; seen_before, nothing.
// Bindings: 4 keys, 5 values (KvChunk module).
// Numerics: f32.

@group(0) @binding(4) var<storage, read> keys: array<KvChunk>;
@group(0) @binding(5) var<storage, read> values: array<KvChunk>;

const NEW_POSITIONS = 1u;

fn query_chunk(start: u32, chunk: u32, token: u32, part: Part) -> Chunk {
  return Chunk(qkv[start + 2u * chunk], qkv[start + 2u * chunk + 1u]);
}

fn seen_before(place: Place, part: Part, has_new: bool, is_first: bool, chunk: u32, query0: Chunk,
               query1: Chunk) -> Start {
  let nothing = Seen(LOWEST, 0.0, Chunk(vec4f(0.0), vec4f(0.0)));
  return Start(nothing, nothing);
}
