// Matrix-vector products for devices that are CPUs, with weights of any format: value[t, r] = sum_k W[r, k] * x[t, k],
// and with HAS_NORM of x after RMSNorm, as in matvec.wgsl.
//
// Shapes: those of matvec_output.wgsl; its put module says what becomes of the values.
// Bindings: 1 W and 2 its scales (weight module), 3 x f32 as vec4, 4 bias f32 (bias module), 5 norm f32 as
// vec4 (norm module), 6 y f32.
// Dispatch: workgroups of WORKGROUP_SIZE; each invocation makes ROWS rows of its own for TOKENS tokens, and adds up
// nothing with others. All read the same of x at the same time, which a CPU does once for all of a subgroup. x and y:
// row sets; z: tokens, TOKENS at a time.
// Numerics: decoded to f32, also quantised weights, f32 sums. The norm's factor is applied to the finished sum, which is
// the same number. Columns past the last are masked on both sides, so padding may hold NaN.
// For one or a few tokens (decode): the time is that of reading W once per TOKENS tokens.
// Source: matvec.wgsl.

const CHUNKS = (COLUMNS + 7u) / 8u;  // of a row

/// Reads one word of each line of the cache that the rows from `first` on lie in: always the same for all invocations of
/// a subgroup, so that a CPU makes a plain load of it, notices that one line follows the other, and fetches the next
/// ones early. Loads with an address for each invocation wait for memory each time. Gives 0, which compilers cannot know.
fn read_ahead(first: u32, count: u32) -> f32 {
  var seen = 0u;
  for (var place = first; place < min(first + count, row_count()); place++) {
    let row = row_at(place) * row_chunks(COLUMNS);
    for (var chunk = 0u; chunk < CHUNKS; chunk += LINE_CHUNKS) { seen |= bitcast<u32>(load_chunk(row + chunk).low.x); }
  }
  return f32(min(seen, select(0u, 1u, arrayLength(&y) == 0u)));
}

fn run(team: Team, teams: u32, group: vec3u, groups: vec3u) {
  let first_token = group.z * TOKENS;
  let team_first = ((group.x + group.y * groups.x) * WORKGROUP_SIZE + team.index * team.size) * ROWS;
  let first = team_first + team.lane * ROWS;
  if (first >= row_count()) { return; }
  var nothing = 0.0;
  // Without subgroups nobody knows which invocations a CPU runs together.
  if (!TEAMS_HAVE_BARRIERS) { nothing = read_ahead(team_first, min(team.size, WORKGROUP_SIZE) * ROWS); }

  var sums = array<f32, OUTPUTS>();
  var squares = array<f32, TOKENS>();
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    var w = array<Eight, ROWS>();
    for (var r = 0u; r < ROWS; r++) {
      w[r] = load_chunk(row_at(min(first + r, row_count() - 1u)) * row_chunks(COLUMNS) + chunk);
      if (is_partial_chunk(chunk)) { w[r] = masked_chunk(w[r], chunk * 8u); }
    }
    for (var t = 0u; t < TOKENS; t++) {
      let values = load_x(first_token + t, chunk, &squares[t]);
      for (var r = 0u; r < ROWS; r++) {
        sums[t * ROWS + r] += dot(w[r].low, values.low) + dot(w[r].high, values.high);
      }
    }
  }

  for (var t = 0u; t < TOKENS; t++) {
    var factor = 1.0 + nothing;
    if (HAS_NORM) { factor /= sqrt(squares[t] / f32(COLUMNS) + params.epsilon); }
    for (var r = 0u; r < ROWS; r += WIDTH) {
      var before: Prior;
      if (HAS_PRIOR) { before = prior(first_token + t, first + r); }
      put(first_token + t, first + r, factor * sums[t * ROWS + r],
          factor * sums[t * ROWS + min(r + 1u, ROWS - 1u)], before);
    }
  }
}
