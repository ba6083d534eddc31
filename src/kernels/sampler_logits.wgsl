// Module: what the argmax shaders and sample.wgsl share: a row's settings, its penalised logits as ordered
// keys, the best pair of a workgroup, and the writing of the result.
//
//   penalised logit = seen ? (logit > 0 ? logit / penalty : logit * penalty) - subtracted : logit
//   subtracted = generated > 0 ? presence_penalty + frequency_penalty * generated : 0
//
// Gives: Params and Row, own_highest (the best token of an invocation), workgroup_best, penalised_key,
// value_of_key, finish.
// Shapes: logits [any, vocab_size] with `stride` vec4s a row, rows [rows], seen [slots, vocab_size], tokens [any],
// results [rows]. A word of seen tells of a token in a sequence: the lower 31 bits how often it was generated, the
// highest one whether the prompt holds it (mark_tokens.wgsl).
// Bindings: 1 logits, the bits of f32 as vec4u, 2 rows Row, 3 seen u32, 4 tokens u32, 5 results vec2u: token,
// status. Row r's token goes to tokens[token_index] and results[r], and its count in seen[slot] grows by one,
// unless slot is NO_SLOT; such a row has no penalties.
// Numerics: a key is a float's bits, mapped to a u32 that has the same order (-0 counts as 0), so that comparing
// and counting are exact. No finite float has the key NOT_FINITE, which stands for NaN and infinity.
// Source: Keskar et al. 2019, "CTRL" (the repetition penalty), in the form of Hugging Face transformers; OpenAI's API
// reference (presence and frequency penalties).

struct Params {
  vocab_size: u32,
  stride: u32,  // of a row of logits, in vec4s
  rows: u32,
  slices: u32,  // of a row, where it is cut (argmax_slices.wgsl)
}

struct Row {
  temperature: f32,
  top_k: u32,
  top_p: f32,
  min_p: f32,
  repetition_penalty: f32,
  seed_low: u32,
  seed_high: u32,
  step: u32,
  slot: u32,
  logits_row: u32,
  token_index: u32,
  presence_penalty: f32,
  frequency_penalty: f32,
}

@group(0) @binding(1) var<storage, read> logits: array<vec4u>;  // the bits of f32
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read_write> seen: array<u32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(5) var<storage, read_write> results: array<vec2u>;

const NOT_FINITE = 0xffffffffu;
const LARGEST = 3.4e38;
const STATUS_OK = 0u;
const STATUS_NOT_FINITE = 1u;
const NO_SLOT = 0xffffffffu;
const GENERATED = 0x7fffffffu;  // the bits of a word of seen that count

/// Reductions have two steps: within TEAMS teams of as many invocations, then over the teams.
const TEAMS = 16u;

const DEPTH = 4u;  // vec4s of logits that an invocation asks for at once

var<workgroup> pairs: array<vec2u, WORKGROUP_SIZE>;

fn ordered_key(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);  // the bits of -0 are 0x80000000
}

fn value_of_key(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u)); }

fn has_penalties(row: Row) -> bool {
  return row.repetition_penalty != 1.0 || row.presence_penalty != 0.0 || row.frequency_penalty != 0.0;
}

/// The key of a token's logit after the penalties; a finite logit stays finite.
fn penalised_key(row: Row, token: u32, bits: u32) -> u32 {
  if ((bits & 0x7f800000u) == 0x7f800000u) { return NOT_FINITE; }
  var logit = bitcast<f32>(bits);
  if (!has_penalties(row)) { return ordered_key(logit); }
  let word = seen[row.slot * params.vocab_size + token];
  if (word == 0u) { return ordered_key(logit); }
  let less = min(logit / row.repetition_penalty, LARGEST);
  logit = select(max(logit * row.repetition_penalty, -LARGEST), less, logit > 0.0);
  let generated = word & GENERATED;
  if (generated > 0u) { logit -= row.presence_penalty + row.frequency_penalty * f32(generated); }
  return ordered_key(clamp(logit, -LARGEST, LARGEST));
}

/// True where a stands before b: the higher x, or for equal ones the higher y.
fn is_better(a: vec2u, b: vec2u) -> bool { return a.x > b.x || (a.x == b.x && a.y > b.y); }

/// A key (or score) with its token, so that among equals the lowest token is the best.
fn ranked(key: u32, token: u32) -> vec2u { return vec2u(key, ~token); }

/// The best of all invocations' pairs: in teams, then of the teams.
fn workgroup_best(own: vec2u, lane: u32) -> vec2u {
  pairs[lane] = own;
  workgroupBarrier();
  var best = own;
  if (lane < TEAMS) {
    for (var i = lane + TEAMS; i < WORKGROUP_SIZE; i += TEAMS) { if (is_better(pairs[i], best)) { best = pairs[i]; } }
    pairs[lane] = best;
  }
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 1u; i < TEAMS; i++) { if (is_better(pairs[i], best)) { best = pairs[i]; } }
    pairs[0] = best;
  }
  return workgroupUniformLoad(&pairs[0]);  // its barriers also leave `pairs` free for the next use
}

/// The better one of a pair and a token's; a token that is not below `end` does not count.
fn better(best: vec2u, row: Row, token: u32, end: u32, bits: u32) -> vec2u {
  if (token >= end) { return best; }
  let candidate = ranked(penalised_key(row, token, bits), token);
  return select(best, candidate, is_better(candidate, best));
}

/// The highest logit among those from `begin` (a multiple of 4) to `end` that this invocation looks at (every
/// WORKGROUP_SIZE-th vec4), ranked.
fn own_highest(row: Row, lane: u32, begin: u32, end: u32) -> vec2u {
  let base = row.logits_row * params.stride;
  let last = (end - 1u) / 4u;
  var best = vec2u(0u);
  for (var first = begin / 4u + lane; first <= last; first += DEPTH * WORKGROUP_SIZE) {
    var fours = array<vec4u, DEPTH>();
    for (var d = 0u; d < DEPTH; d++) { fours[d] = logits[base + min(first + d * WORKGROUP_SIZE, last)]; }
    for (var d = 0u; d < DEPTH; d++) {
      let token = 4u * (first + d * WORKGROUP_SIZE);  // behind the last: no token, so that none is looked at twice
      best = better(best, row, token, end, fours[d].x);
      best = better(best, row, token + 1u, end, fours[d].y);
      best = better(best, row, token + 2u, end, fours[d].z);
      best = better(best, row, token + 3u, end, fours[d].w);
    }
  }
  return best;
}

/// Writes a row's outcome; one invocation calls it. A row with NaN or infinity gives token 0, uncounted.
fn finish(index: u32, row: Row, best: vec2u) {
  if (best.x == NOT_FINITE) {
    tokens[row.token_index] = 0u;
    results[index] = vec2u(0u, STATUS_NOT_FINITE);
    return;
  }
  let token = ~best.y;
  tokens[row.token_index] = token;
  results[index] = vec2u(token, STATUS_OK);
  if (row.slot != NO_SLOT) { seen[row.slot * params.vocab_size + token] += 1u; }
}
