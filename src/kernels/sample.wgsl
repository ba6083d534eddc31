// Draws one token per row from its filtered distribution. The rules, in this order:
//   1. penalties (sampler_logits.wgsl); temperature 0 takes the highest logit and ends here
//   2. z = (logit - highest) / temperature, so that a token's weight is w = exp(z)
//   3. top-k: keep the logits that reach the k-th highest (0: all)
//   4. top-p: of those, keep the likeliest that together reach the share top_p of their weight (1: all)
//   5. min-p: of those, keep w >= min_p (0: all)
//   6. draw: the highest z + g among the kept, with Gumbel noise g = -log(-log(u)): a token is drawn
//      with a probability in proportion to w
// Tokens tied at a threshold of 3 and 4 are kept together; the likeliest token is always kept.
//
// Shapes: those of sampler_logits.wgsl.
// Bindings: 1 logits, 2 rows, 3 seen, 4 tokens, 5 results, as in sampler_logits.wgsl.
// Dispatch: one workgroup of WORKGROUP_SIZE = 256 per row (folded into x and y).
// Method: sampler_threshold.wgsl finds the thresholds of 3 and 4 by radix selection. Where a cheap lower
// bound of a threshold leaves few tokens, they are listed once and only the list is looked at.
// Numerics: thresholds are exact for weights rounded to 2^-26; z and the noise are f32. All sums are of
// integers, so that the same seed gives the same token every time. Any NaN or infinity among a
// row's logits gives token 0 with STATUS_NOT_FINITE. Padding is not used.
// Source: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p), Maddison et
// al. 2014 (Gumbel-max), Jarzynski & Olano 2020, "Hash Functions for GPU Rendering" (pcg4d).

const LOWEST_DRAWN_Z = -26.0;  // noise spans less than 26, so that no token below can win

/// The share top_p of the mass of all items from `lowest` on; at least one unit.
fn nucleus_goal(context: Context, items: Items, lowest: u32) -> vec2u {
  var sum = vec2u(0u);
  for (var i = context.lane; i < items.count; i += WORKGROUP_SIZE) {
    let key = token_key(context.row, item_token(items, i));
    if (key >= lowest) { sum = carried(sum + pair_of(mass_of(scaled(context, key)))); }
  }
  let after = sum_after(sum, context.lane);
  if (context.lane == 0u) { picked = vec3u(0u, carried(sum + after)); }
  let total = workgroupUniformLoad(&picked).yz;
  let unit = f32(LOW_MASK + 1u);
  let goal = (f32(total.x) * unit + f32(total.y)) * context.row.top_p;
  let high = floor(goal / unit);
  return max(vec2u(u32(high), u32(goal - high * unit)), vec2u(0u, select(0u, 1u, high == 0.0)));
}

/// A key that the top-p threshold cannot lie below: the tokens of lower weight than (1 - p) / (2 * vocab_size)
/// cannot make up the share 1 - p.
fn nucleus_floor(context: Context) -> u32 {
  let weight = max(1.0 - context.row.top_p, 1e-7) / (2.0 * f32(params.vocab_size));
  return ordered_key(max(context.highest + context.row.temperature * log(weight), -LARGEST));
}

/// 32 random bits for a token: the hash pcg4d of seed, step and token, its weak low bits mixed with high ones.
fn random_bits(row: Row, token: u32) -> u32 {
  var v = vec4u(row.seed_low, row.seed_high, row.step, token) * 1664525u + 1013904223u;
  for (var round = 0u; round < 2u; round++) {
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    if (round == 0u) { v ^= v >> vec4u(16u); }
  }
  return v.w ^ (v.w >> 16u);
}

/// -log(-log(u)) for u = 1 - v; v has 32 bits, so that the rare high values are finely spaced.
fn gumbel(bits: u32) -> f32 {
  let v = min((f32(bits) + 0.5) * 2.3283064365386963e-10, 1.0 - 5.960464477539063e-8);
  var exponential = v * (1.0 + v * (0.5 + v * (1.0 / 3.0 + v * 0.25)));  // -log(1 - v) for small v
  if (v > 0.015625) { exponential = -log(1.0 - v); }
  return -log(exponential);
}

/// The winner of the draw among this invocation's items.
fn own_draw(context: Context, items: Items, threshold: u32) -> vec2u {
  var lowest = LOWEST_DRAWN_Z;
  if (context.row.min_p > 0.0) { lowest = max(lowest, min(log(context.row.min_p), 0.0)); }
  var best = vec2u(0u);
  for (var i = context.lane; i < items.count; i += WORKGROUP_SIZE) {
    let token = item_token(items, i);
    let key = token_key(context.row, token);
    if (key < threshold) { continue; }
    let z = scaled(context, key);
    if (z < lowest) { continue; }
    let drawn = ranked(ordered_key(z + gumbel(random_bits(context.row, token))), token);
    if (is_better(drawn, best)) { best = drawn; }
  }
  return best;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let index = group.x + group.y * groups.x;
  if (index >= params.rows) { return; }
  let row = rows[index];
  let own = own_highest(row, lane, 0u, params.vocab_size);
  let best = workgroup_best(own, lane);
  if (best.x == NOT_FINITE || row.temperature < GREEDY_TEMPERATURE) {
    if (lane == 0u) { finish(index, row, best); }
    return;
  }

  let context = Context(row, value_of_key(best.x), own.x, lane);
  let use_top_k = row.top_k > 0u && row.top_k < params.vocab_size;
  var items = Items(params.vocab_size, false);
  var threshold = 0u;
  if (use_top_k) {
    let goal = pair_of(row.top_k);
    if (row.top_k <= WORKGROUP_SIZE) {
      // The k-th highest of the invocations' own highest keys is no more than the k-th highest key.
      threshold = select_threshold(BY_OWN_KEY, context, items, 0u, goal);
      items = list_candidates(context, threshold);
    }
    threshold = select_threshold(BY_COUNT, context, items, threshold, goal);
  }
  if (row.top_p < 1.0) {
    let goal = nucleus_goal(context, items, threshold);
    if (!use_top_k) {
      threshold = nucleus_floor(context);
      items = list_candidates(context, threshold);
    }
    threshold = max(threshold, select_threshold(BY_MASS, context, items, threshold, goal));
  }
  // Where rounding leaves no token at all, the likeliest one is still there.
  let drawn = workgroup_best(own_draw(context, items, threshold), lane);
  if (lane == 0u) { finish(index, row, select(drawn, best, drawn.x == 0u)); }
}
