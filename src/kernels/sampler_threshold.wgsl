// Module: the thresholds of sample.wgsl. The key such that the keys from it on reach a count or a mass of
// probability, found by radix selection: four histograms of 8 bits each narrow the key down.
//
// Gives: select_threshold, list_candidates, Items, Context. Needs sampler_logits.wgsl, and WORKGROUP_SIZE = 256:
// one invocation per bin.
// Numerics: masses are integers, w * 2^26 rounded, summed in pairs of words that cannot overflow below 2^19
// tokens; so the order of additions does not matter.
// Source: Alabi et al. 2012, "Fast k-selection algorithms for graphics processing units" (radix selection).

const CAPACITY = 2048u;       // of the list of candidates
const MASS_ONE = 67108864.0;  // the mass of weight 1: 2^26
const LOW_BITS = 13u;
const LOW_MASK = 0x1fffu;
const LOWEST_MASS_Z = -20.0;  // exp of it is less than half a unit of mass

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
var<workgroup> bins_high: array<atomic<u32>, WORKGROUP_SIZE>;  // zero except within select_threshold
var<workgroup> bins_low: array<atomic<u32>, WORKGROUP_SIZE>;
var<workgroup> team_sums: array<vec2u, TEAMS>;
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

/// The sum of the pairs of the invocations after this one.
fn sum_after(own: vec2u, lane: u32) -> vec2u {
  pairs[lane] = own;
  workgroupBarrier();
  if (lane < TEAMS) {
    var sum = vec2u(0u);
    for (var i = 0u; i < WORKGROUP_SIZE / TEAMS; i++) { sum += pairs[lane * (WORKGROUP_SIZE / TEAMS) + i]; }
    team_sums[lane] = carried(sum);
  }
  workgroupBarrier();
  let team = lane / (WORKGROUP_SIZE / TEAMS);
  var sum = vec2u(0u);
  for (var i = lane + 1u; i < (team + 1u) * (WORKGROUP_SIZE / TEAMS); i++) { sum += pairs[i]; }
  for (var i = team + 1u; i < TEAMS; i++) { sum += team_sums[i]; }
  return carried(sum);
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
    let own = carried(vec2u(atomicExchange(&bins_high[lane], 0u), atomicExchange(&bins_low[lane], 0u)));
    let above = sum_after(own, lane);
    if ((lane == 0u || reaches(carried(above + own), remaining)) && !reaches(above, remaining)) {
      picked = vec3u(lane, above);
    }
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
  let base = context.row.logits_row * params.stride;
  for (var chunk = context.lane; 4u * chunk < params.vocab_size; chunk += WORKGROUP_SIZE) {
    let four = logits[base + chunk];
    for (var i = 0u; i < 4u; i++) {
      let token = 4u * chunk + i;
      if (token >= params.vocab_size || penalised_key(context.row, token, four[i]) < lowest) { continue; }
      let at = atomicAdd(&candidate_count, 1u);
      if (at < CAPACITY) { candidates[at] = token; }
    }
  }
  workgroupBarrier();
  if (context.lane == 0u) { listed_count = atomicLoad(&candidate_count); }
  let count = workgroupUniformLoad(&listed_count);
  if (count > CAPACITY) { return Items(params.vocab_size, false); }
  return Items(count, true);
}
