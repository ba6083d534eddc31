// Matrix-vector products with float weights: value[t, r] = sum_k W[r, k] * x[t, k], and with HAS_NORM
//   value[t, r] = sum_k W[r, k] * norm[k] * x[t, k] / sqrt(mean_k x[t, k]^2 + epsilon)   (RMSNorm of x first)
//
// Shapes: those of matvec_output.wgsl; its put module says what becomes of the values.
// Bindings: 1 W (weight module), 3 x f32 as vec4, 4 bias f32 (bias module), 5 norm f32 as
// vec4 (norm module), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE; SPLIT teams (team module) make ROWS rows for TOKENS tokens, their
// lanes reading chunks of 8 columns in turn, DEPTH at a time. x and y: row sets, any number of workgroups;
// z: tokens, TOKENS at a time.
// Numerics: decoded to f32, f32 sums. The norm's factor is applied to the finished sum, which is the same
// number. Columns past the last are masked on both sides, so padding may hold NaN.
// For one or a few tokens (decode): the time is that of reading W once per TOKENS tokens.
// Source: Zhang & Sennrich 2019 (RMSNorm).

const CHUNKS = (COLUMNS + 7u) / 8u;  // of a row
/// Whether the lanes of a row read whole pieces of it.
const IS_EVEN = ROW_LANES > 0u && CHUNKS % (DEPTH * max(ROW_LANES, 1u)) == 0u;

/// Behind the last chunk, the last one.
fn chunk_at(chunk: u32) -> u32 {
  if (IS_EVEN) { return chunk; }
  return min(chunk, CHUNKS - 1u);
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let share = share_of(team, teams);
  let sets = (row_count() + ROWS - 1u) / ROWS;
  let step = groups.x * groups.y * sets_of(teams);
  let row_stride = row_chunks(COLUMNS);
  let first_token = group.z * TOKENS;
  for (var base = (group.x + group.y * groups.x) * sets_of(teams); base < sets; base += step) {
    let first = (base + share.row_set) * ROWS;
    let before = priors(share, first_token, first);
    var sums = array<f32, ROWS * TOKENS>();
    var squares = array<f32, TOKENS>();
    // All lanes make the same trips.
    for (var trip = 0u; trip < CHUNKS; trip += DEPTH * share.lanes) {
      let chunk = trip + share.lane;
      var w = array<Eight, ROWS * DEPTH>();  // all loads first, so that they wait together
      for (var d = 0u; d < DEPTH; d++) {
        let at = chunk_at(chunk + d * share.lanes);
        for (var r = 0u; r < ROWS; r++) {
          w[d * ROWS + r] = load_chunk(row_at(min(first + r, row_count() - 1u)) * row_stride + at);
        }
      }
      for (var d = 0u; d < DEPTH; d++) {
        // No branches: what lies behind the last chunk is that chunk again, times 0.
        let at = chunk_at(chunk + d * share.lanes);
        let factor = select(0.0, 1.0, IS_EVEN || chunk + d * share.lanes < CHUNKS);
        if (is_partial_chunk(at)) {
          for (var r = 0u; r < ROWS; r++) { w[d * ROWS + r] = masked_chunk(w[d * ROWS + r], at * 8u); }
        }
        for (var t = 0u; t < TOKENS; t++) {
          var chunk_squares = 0.0;
          let values = load_x(first_token + t, at, &chunk_squares);
          squares[t] += factor * chunk_squares;
          for (var r = 0u; r < ROWS; r++) {
            let i = d * ROWS + r;
            sums[t * ROWS + r] += factor * (dot(w[i].low, values.low) + dot(w[i].high, values.high));
          }
        }
      }
    }
    finish(team, share, first_token, first, &sums, &squares, before);
  }
}
