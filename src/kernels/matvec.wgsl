// Matrix-vector products with float weights: value[t, r] = sum_k W[r, k] * x[t, k], and with HAS_NORM
//   value[t, r] = sum_k W[r, k] * norm[k] * x[t, k] / sqrt(mean_k x[t, k]^2 + epsilon)   (RMSNorm of x first)
//
// Shapes, and what becomes of the values: matvec_output.wgsl.
// Bindings: 1 W (weight module), 3 x f32 as vec4, 4 bias f32 (any buffer without HAS_BIAS), 5 norm f32 as
// vec4 (any buffer without HAS_NORM), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE; each team (team module) makes ROWS rows for TOKENS tokens, its
// lanes reading every team-size-th chunk of 8 columns. x and y: row sets, any number of workgroups; z:
// tokens, TOKENS at a time.
// Numerics: decoded to f32, f32 sums. The norm's factor is applied to the finished sum, which is the same
// number. Columns past the last are masked on both sides, so padding may hold NaN.
// For one or a few tokens (decode): the time is that of reading W once per TOKENS tokens.
// Source: Zhang & Sennrich 2019 (RMSNorm).

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let sets = (params.rows + ROWS - 1u) / ROWS;
  let row_stride = row_chunks(params.columns);
  let chunks = (params.columns + 7u) / 8u;
  let first_token = group.z * TOKENS;
  let step = groups.x * groups.y * teams;
  for (var base = (group.x + group.y * groups.x) * teams; base < sets; base += step) {
    let first = (base + team.index) * ROWS;
    var sums = array<f32, ROWS * TOKENS>();
    var squares = array<f32, TOKENS>();
    for (var chunk = team.lane; chunk < chunks; chunk += team.size) {
      let is_partial = chunk * 8u + 8u > params.columns;
      var w = array<Eight, ROWS>();
      for (var r = 0u; r < ROWS; r++) {
        w[r] = load_chunk(min(first + r, params.rows - 1u) * row_stride + chunk);
        if (is_partial) { w[r] = Eight(masked(w[r].low, chunk * 8u), masked(w[r].high, chunk * 8u + 4u)); }
      }
      for (var t = 0u; t < TOKENS; t++) {
        let at = min(first_token + t, params.tokens - 1u) * params.x_stride + 2u * chunk;
        var low = x[at];
        var high = x[at + 1u];
        if (is_partial) {
          low = masked(low, chunk * 8u);
          high = masked(high, chunk * 8u + 4u);
        }
        if (HAS_NORM) {
          squares[t] += dot(low, low) + dot(high, high);
          low *= norm[2u * chunk];
          high *= norm[2u * chunk + 1u];
          if (is_partial) {
            low = masked(low, chunk * 8u);
            high = masked(high, chunk * 8u + 4u);
          }
        }
        for (var r = 0u; r < ROWS; r++) { sums[t * ROWS + r] += dot(w[r].low, low) + dot(w[r].high, high); }
      }
    }
    finish(team, first_token, first, &sums, &squares);
  }
}
