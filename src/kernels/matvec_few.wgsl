// Products of a few tokens with weights quantised in blocks, in integer arithmetic:
//   value[t, r] = sum_u xs[t, u] * sum_{k in unit u} w[r, k] * xq[t, k]
// over units u of 32 columns of x, which x_blocks.wgsl has quantised; the inner sum is that of a blocks module.
//
// Shapes: W [rows, columns] (one row shard), xq i8 [tokens, units, 32], xs [tokens, units] of (scale, sum of integers),
// bias [all rows], y as in matvec_put.wgsl, which also says what becomes of the values.
// Bindings: 1 W values, 2 W scales (blocks module), 3 xq as vec4u, 4 bias f32 (bias module),
// 5 xs vec2f, 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE: sets of LANES invocations, a multiple of the teams' size. A lane has the same
// unit of every row, and so its part of x, for TOKENS tokens (4 or 8), in registers; then it reads two rows after two
// rows, always asking for the next before it works on those that have come. x and y: row sets, any number of
// workgroups; z: tokens, TOKENS at a time. MIN_TEAM, a power of two from 16 on, is the least size of a team.
// Numerics: integer sums are exact, products of scales and sums over units f32.
// For some 2 to 8 tokens: weights are read once, and each word of them is used TOKENS times from a register. All that
// belongs to tokens has a name of its own: compilers leave arrays of that size in memory.
// Source: matvec_kept.wgsl, matvec_blocks.wgsl.

@group(0) @binding(3) var<storage, read> x_integers: array<vec4u>;
@group(0) @binding(5) var<storage, read> x_scales: array<vec2f>;

const UNITS = (COLUMNS + 31u) / 32u;      // of a row
const SETS = WORKGROUP_SIZE / LANES;
const PARTS = WORKGROUP_SIZE / MIN_TEAM;  // of each sum

// Parts of the rows' sums, twice, so that one barrier is enough between a set of rows and the next.
var<workgroup> partials: array<f32, 2u * OUTPUTS * PARTS>;

/// A lane's unit of two rows.
struct Pieces { first: Unit, second: Unit, first_scale: Scale, second_scale: Scale }

/// A lane's unit of x, of one token and of four.
struct Kept { low: vec4u, high: vec4u, scale: vec2f }
struct FourKept { a: Kept, b: Kept, c: Kept, d: Kept }

/// The rows from `first` on; behind the last row the last again.
fn load_rows(first: u32, lane: u32) -> Pieces {
  let unit = min(lane, UNITS - 1u);
  let at = min(first, row_count() - 1u) * ROW_UNITS + unit;
  let next = min(first + 1u, row_count() - 1u) * ROW_UNITS + unit;
  return Pieces(load_unit(at), load_unit(next), load_scale(at), load_scale(next));
}

/// What lies behind the last unit is that unit again, times 0.
fn load_x(token: u32, lane: u32) -> Kept {
  let at = min(token, params.tokens - 1u) * UNITS + min(lane, UNITS - 1u);
  return Kept(x_integers[2u * at], x_integers[2u * at + 1u], select(vec2f(0.0), x_scales[at], lane < UNITS));
}

fn load_four(token: u32, lane: u32) -> FourKept {
  return FourKept(load_x(token, lane), load_x(token + 1u, lane), load_x(token + 2u, lane), load_x(token + 3u, lane));
}

fn product(w: Unit, scale: Scale, lane: u32, x: Kept) -> f32 {
  let integers = array<vec2u, 4>(x.low.xy, x.low.zw, x.high.xy, x.high.zw);
  return unit_product(w, scale, min(lane, UNITS - 1u), integers, x.scale);
}

fn four_products(w: Unit, scale: Scale, lane: u32, x: FourKept) -> vec4f {
  return vec4f(product(w, scale, lane, x.a), product(w, scale, lane, x.b), product(w, scale, lane, x.c),
               product(w, scale, lane, x.d));
}

/// Each lane gives one of two values to the lane whose number differs by the bit `distance`, and adds what it gets to
/// the other: the upper lane, which has that bit, keeps `high`.
fn halve4(low: vec4f, high: vec4f, distance: u32, team: Team) -> vec4f {
  let is_upper = (team.lane & distance) != 0u;
  let given = select(high, low, is_upper);
  return select(low, high, is_upper) + vec4f(team_swap(given.x, distance, team), team_swap(given.y, distance, team),
                                             team_swap(given.z, distance, team), team_swap(given.w, distance, team));
}

fn halve2(low: vec2f, high: vec2f, distance: u32, team: Team) -> vec2f {
  let is_upper = (team.lane & distance) != 0u;
  let given = select(high, low, is_upper);
  return select(low, high, is_upper) + vec2f(team_swap(given.x, distance, team), team_swap(given.y, distance, team));
}

fn halve(low: f32, high: f32, distance: u32, team: Team) -> f32 {
  let is_upper = (team.lane & distance) != 0u;
  return select(low, high, is_upper) + team_swap(select(high, low, is_upper), distance, team);
}

/// The products with four tokens, of one of the two rows for each lane.
fn four_sums(team: Team, pieces: Pieces, lane: u32, x: FourKept) -> vec4f {
  return halve4(four_products(pieces.first, pieces.first_scale, lane, x),
                four_products(pieces.second, pieces.second_scale, lane, x), TOKENS, team);
}

/// Leaves the sums of a team's lanes in workgroup memory at `buffer`. In the end each lane has one value, that of row
/// lane / TOKENS and token lane % TOKENS.
fn leave_sums(buffer: u32, team: Team, pieces: Pieces, lane: u32, first_four: FourKept, last_four: FourKept) {
  var four = four_sums(team, pieces, lane, first_four);
  if (TOKENS > 4u) { four = halve4(four, four_sums(team, pieces, lane, last_four), 4u, team); }
  let two = halve2(four.xy, four.zw, 2u, team);
  var sum = halve(two.x, two.y, 1u, team);
  for (var distance = OUTPUTS; distance < MIN_TEAM; distance *= 2u) { sum += team_swap(sum, distance, team); }
  let output = team.lane % MIN_TEAM;
  if (output < OUTPUTS) { partials[buffer + output * PARTS + (team.index * team.size + team.lane) / MIN_TEAM] = sum; }
}

/// The sum of the parts of one output, of one set of rows.
fn sum_of_parts(buffer: u32, output: u32, own_set: u32) -> f32 {
  let first = buffer + output * PARTS + own_set * (LANES / MIN_TEAM);
  var sum = 0.0;
  for (var part = 0u; part < LANES / MIN_TEAM; part++) { sum += partials[first + part]; }
  return sum;
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let position = team.index * team.size + team.lane;
  let lane = position % LANES;
  let own_set = position / LANES;
  let first_token = group.z * TOKENS;
  let step = groups.x * groups.y * SETS;
  let begin = (group.x + group.y * groups.x) * SETS;
  let sets = (row_count() + ROWS - 1u) / ROWS;
  var next = load_rows((begin + own_set) * ROWS, lane);
  let first_four = load_four(first_token, lane);
  var last_four = first_four;
  if (TOKENS > 4u) { last_four = load_four(first_token + 4u, lane); }

  var buffer = 0u;
  for (var base = begin; base < sets; base += step) {
    let pieces = next;
    if (base + step < sets) { next = load_rows((base + step + own_set) * ROWS, lane); }
    // An element of y for each lane of the first few.
    let token = first_token + lane % TOKENS;
    let row = (base + own_set) * ROWS + lane / TOKENS;
    let is_putting = lane < OUTPUTS / WIDTH;
    var before = Prior();
    if (HAS_PRIOR && is_putting) { before = prior(token, row); }
    leave_sums(buffer, team, pieces, lane, first_four, last_four);
    workgroupBarrier();
    if (is_putting) {
      var following = 0.0;
      if (WIDTH == 2u) { following = sum_of_parts(buffer, lane + TOKENS, own_set); }
      put(token, row, sum_of_parts(buffer, lane, own_set), following, before);
    }
    buffer = OUTPUTS * PARTS - buffer;
  }
}
