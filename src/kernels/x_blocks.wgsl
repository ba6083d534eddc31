// Quantises activations in units of 32 columns, for products with few tokens (matvec_few.wgsl):
//   integers[t, k] = round(x[t, k] / s[t, u]), s[t, u] = max |x[t, k]| / 127 over the columns k of unit u
// With HAS_NORM, x stands for RMSNorm(x) (rms_norm.wgsl); its factor is applied to the scale alone.
//
// Shapes: x [tokens, columns] with x_stride vec4s a row, norm [columns], integers i8 [tokens, units, 32],
// scales [tokens, units] of (s, sum of the unit's integers).
// Bindings: 1 x f32 as vec4, 2 norm f32 as vec4 (norm module), 3 integers as vec2u, 4 scales vec2f.
// Dispatch: x over 8 columns each in workgroups of WORKGROUP_SIZE, any number; y = token. With HAS_NORM each workgroup
// adds up the squares of its token's row, so one for each is best.
// Numerics: |x - s * integer| <= s / 2; sums in f32. Columns past the last count as 0, so padding may hold NaN.
// Source: 8-bit activations as in Dettmers et al. 2022, "LLM.int8()", per unit of 32.

struct Params {
  columns: u32,
  x_stride: u32,
  epsilon: f32,    // of the norm
  pad: u32,
}

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> integers: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> scales: array<vec2f>;

const MAX_TEAMS = WORKGROUP_SIZE / 4u;  // no team has fewer than 4 lanes
var<workgroup> team_squares: array<f32, MAX_TEAMS>;

struct Eight { low: vec4f, high: vec4f }

fn masked(values: vec4f, first_column: u32) -> vec4f {
  return select(vec4f(0.0), values, vec4u(0u, 1u, 2u, 3u) + first_column < vec4u(params.columns));
}

/// Columns 8 * item … of a row of vec4s that begins at `start`.
fn load_x(start: u32, item: u32) -> Eight {
  let at = min(item, (params.columns - 1u) / 8u);
  return Eight(masked(x[start + 2u * at], 8u * item), masked(x[start + 2u * at + 1u], 8u * item + 4u));
}

fn load_norm(item: u32) -> Eight {
  let at = min(item, (params.columns - 1u) / 8u);
  return Eight(masked(norm_at(2u * at), 8u * item), masked(norm_at(2u * at + 1u), 8u * item + 4u));
}

fn largest_of(values: Eight) -> f32 {
  let four = max(abs(values.low), abs(values.high));
  return max(max(four.x, four.y), max(four.z, four.w));
}

/// 1 / the root of the mean square of a row of `items` times 8 columns.
fn norm_factor(team: Team, teams: u32, start: u32, items: u32) -> f32 {
  var squares = 0.0;
  for (var item = team.index * team.size + team.lane; item < items; item += WORKGROUP_SIZE) {
    let values = load_x(start, item);
    squares += dot(values.low, values.low) + dot(values.high, values.high);
  }
  let sum = team_sum(squares, team);
  if (team.lane == 0u) { team_squares[team.index] = sum; }
  workgroupBarrier();
  var total = 0.0;
  for (var t = 0u; t < teams; t++) { total += team_squares[t]; }
  return 1.0 / sqrt(total / f32(params.columns) + params.epsilon);
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let units = (params.columns + 31u) / 32u;
  let start = group.y * params.x_stride;
  var factor = 1.0;
  if (HAS_NORM) { factor = norm_factor(team, teams, start, 4u * units); }
  for (var base = group.x * WORKGROUP_SIZE; base < 4u * units; base += groups.x * WORKGROUP_SIZE) {
    let item = base + team.index * team.size + team.lane;
    var values = load_x(start, item);
    if (HAS_NORM) {
      let weights = load_norm(item);
      values = Eight(values.low * weights.low, values.high * weights.high);
    }
    let largest = quad_max(largest_of(values), team);
    let inverse = select(0.0, 127.0 / largest, largest > 0.0);
    let words = vec2u(rounded(values.low, inverse), rounded(values.high, inverse));
    let sum = quad_sum(f32(dot4I8Packed(words.x, 0x01010101u) + dot4I8Packed(words.y, 0x01010101u)), team);
    if (item < 4u * units) {
      integers[group.y * 4u * units + item] = words;
      if (item % 4u == 0u) { scales[group.y * units + item / 4u] = vec2f(factor * (largest / 127.0), sum); }
    }
  }
}
