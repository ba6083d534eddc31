// Draws one token per row from its filtered distribution. The rules, in this order:
//   1. repetition penalty (sampler_logits.wgsl); temperature 0 takes the highest logit and ends here
//   2. z = (logit - highest) / temperature, so that a token's weight is w = exp(z)
//   3. top-k: keep the logits that reach the k-th highest (0: all)
//   4. top-p: of those, keep the likeliest that together reach the share top_p of their weight (1: all)
//   5. min-p: of those, keep w >= min_p (0: all)
//   6. draw: the highest z + g among the kept, with Gumbel noise g = -log(-log(u)): a token is drawn
//      with a probability in proportion to w
// Tokens tied at a threshold of 3 and 4 are kept together; the likeliest token is always kept.
//
// Shapes and bindings: sampler_logits.wgsl (1 logits, 2 rows, 3 seen, 4 tokens, 5 results).
// Dispatch: one workgroup of WORKGROUP_SIZE = 256 per row (folded into x and y).
// Method: both thresholds are found by radix selection on ordered keys, 8 bits at a time. Where a cheap
// lower bound of the threshold leaves few tokens, they are listed once and only the list is looked at.
// Numerics: weights are summed as integers, w * 2^26 rounded, in two words of 13 bits that cannot overflow
// below 2^19 tokens: the order of additions does not matter, and a seed gives the same token every time.
// Any NaN or infinity among a row's logits gives token 0 with STATUS_NOT_FINITE. Padding is not used.
// Source: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p), Maddison et
// al. 2014 (Gumbel-max), Jarzynski & Olano 2020, "Hash Functions for GPU Rendering" (pcg4d).

const CAPACITY = 2048u;        // of the list of candidates
const MASS_ONE = 67108864.0;   // the mass of weight 1: 2^26
const LOW_BITS = 13u;
const LOW_MASK = 0x1fffu;
const LOWEST_MASS_Z = -20.0;   // exp of it is less than half a unit of mass
const LOWEST_DRAWN_Z = -26.0;  // noise spans less than 26, so that no token below can win

// What select_threshold adds up: one for each invocation's highest key, one for each item, or its mass.
const BY_OWN_KEY = 0u;
const BY_COUNT = 1u;
const BY_MASS = 2u;

/// The tokens to look at: candidates[0, count) where they are listed, otherwise all of [0, count).
struct Items {
  count: u32,
  listed: bool,
}

/// A row with the highest of its logits, and who asks.
struct Context {
  row: Row,
  highest: f32,
  own_key: u32,  // the highest key among this invocation's tokens
  lane: u32,
}

var<workgroup> candidates: array<u32, CAPACITY>;
var<workgroup> candidate_count: atomic<u32>;
var<workgroup> listed_count: u32;
var<workgroup> bins_high: array<atomic<u32>, WORKGROUP_SIZE>;
var<workgroup> bins_low: array<atomic<u32>, WORKGROUP_SIZE>;
var<workgroup> picked: vec3u;

// Masses and counts are pairs: x * 2^LOW_BITS + y, with y below 2^LOW_BITS.
fn pair_of(mass: u32) -> vec2u { return vec2u(mass >> LOW_BITS, mass & LOW_MASK); }
fn carried(sum: vec2u) -> vec2u { return vec2u(sum.x + (sum.y >> LOW_BITS), sum.y & LOW_MASK); }
fn reaches(sum: vec2u, goal: vec2u) -> bool { return sum.x > goal.x || (sum.x == goal.x && sum.y >= goal.y); }
fn less(a: vec2u, b: vec2u) -> vec2u {
  return select(vec2u(a.x - b.x, a.y - b.y), vec2u(a.x - b.x - 1u, a.y + LOW_MASK + 1u - b.y), a.y < b.y);
}

fn item_token(items: Items, i: u32) -> u32 {
  if (items.listed) { return candidates[i]; }
  return i;
}

fn token_key(row: Row, token: u32) -> u32 {
  return penalised_key(row, token, logits[row.logits_row * params.stride + token / 4u][token % 4u]);
}

fn scaled(context: Context, key: u32) -> f32 { return (value_of_key(key) - context.highest) / context.row.temperature; }

fn mass_of(z: f32) -> u32 {
  if (z < LOWEST_MASS_Z) { return 0u; }
  return u32(min(exp(z), 1.0) * MASS_ONE + 0.5);
}

/// pairs[i] = the sum of the invocations' pairs from i on.
fn sum_from_each(own: vec2u, lane: u32) {
  workgroupBarrier();
  pairs[lane] = own;
  for (var step = 1u; step < WORKGROUP_SIZE; step *= 2u) {
    workgroupBarrier();
    var sum = pairs[lane];
    if (lane + step < WORKGROUP_SIZE) { sum = carried(sum + pairs[lane + step]); }
    workgroupBarrier();
    pairs[lane] = sum;
  }
  workgroupBarrier();
}

fn add_to_bin(bin: u32, amount: vec2u) {
  if (amount.y > 0u) { atomicAdd(&bins_low[bin], amount.y); }
  if (amount.x > 0u) { atomicAdd(&bins_high[bin], amount.x); }
}

/// The highest key t such that the keys from t on reach `goal` (at least one); only keys from `lowest` on count.
fn select_threshold(rule: u32, context: Context, items: Items, lowest: u32, goal: vec2u) -> u32 {
  let lane = context.lane;
  var prefix = 0u;  // of the threshold: its digits so far
  var mask = 0u;
  var remaining = goal;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    atomicStore(&bins_high[lane], 0u);
    atomicStore(&bins_low[lane], 0u);
    workgroupBarrier();
    if (rule == BY_OWN_KEY) {
      if ((context.own_key & mask) == prefix) { add_to_bin((context.own_key >> shift) & 255u, vec2u(0u, 1u)); }
    } else {
      for (var i = lane; i < items.count; i += WORKGROUP_SIZE) {
        let key = token_key(context.row, item_token(items, i));
        if (key < lowest || (key & mask) != prefix) { continue; }
        var amount = 1u;
        if (rule == BY_MASS) { amount = mass_of(scaled(context, key)); }
        add_to_bin((key >> shift) & 255u, pair_of(amount));
      }
    }
    workgroupBarrier();
    sum_from_each(carried(vec2u(atomicLoad(&bins_high[lane]), atomicLoad(&bins_low[lane]))), lane);
    var above = vec2u(0u);
    if (lane + 1u < WORKGROUP_SIZE) { above = pairs[lane + 1u]; }
    if ((lane == 0u || reaches(pairs[lane], remaining)) && !reaches(above, remaining)) { picked = vec3u(lane, above); }
    let pick = workgroupUniformLoad(&picked);
    remaining = less(remaining, pick.yz);
    prefix |= pick.x << shift;
    mask |= 255u << shift;
  }
  return prefix;
}

/// Lists the tokens whose keys reach `lowest`, or leaves all tokens where the list cannot hold them.
fn list_candidates(context: Context, lowest: u32) -> Items {
  if (context.lane == 0u) { atomicStore(&candidate_count, 0u); }
  workgroupBarrier();
  for (var token = context.lane; token < params.vocab_size; token += WORKGROUP_SIZE) {
    if (token_key(context.row, token) < lowest) { continue; }
    let at = atomicAdd(&candidate_count, 1u);
    if (at < CAPACITY) { candidates[at] = token; }
  }
  workgroupBarrier();
  if (context.lane == 0u) { listed_count = atomicLoad(&candidate_count); }
  let count = workgroupUniformLoad(&listed_count);
  if (count > CAPACITY) { return Items(params.vocab_size, false); }
  return Items(count, true);
}

/// The share top_p of the mass of all items from `lowest` on; at least one unit.
fn nucleus_goal(context: Context, items: Items, lowest: u32) -> vec2u {
  var sum = vec2u(0u);
  for (var i = context.lane; i < items.count; i += WORKGROUP_SIZE) {
    let key = token_key(context.row, item_token(items, i));
    if (key >= lowest) { sum = carried(sum + pair_of(mass_of(scaled(context, key)))); }
  }
  sum_from_each(sum, context.lane);
  let total = workgroupUniformLoad(&pairs[0]);
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

/// 32 random bits for a token: the hash pcg4d of seed, step and token.
fn random_bits(row: Row, token: u32) -> u32 {
  var v = vec4u(row.seed_low, row.seed_high, row.step, token) * 1664525u + 1013904223u;
  for (var round = 0u; round < 2u; round++) {
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    if (round == 0u) { v ^= v >> vec4u(16u); }
  }
  return v.w;
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
  let own = own_highest(row, lane);
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
