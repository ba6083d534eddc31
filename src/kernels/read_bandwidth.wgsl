// Reads a buffer once: the most bytes per second that a kernel can get from memory.
// sums[i] = the sum, modulo 2^32, of the words that invocation i read
//
// Shapes: x [vec4s] of four words each, sums [invocations].
// Bindings: 1 x u32, 2 sums u32.
// Dispatch: any number of workgroups of WORKGROUP_SIZE in x; neighbouring invocations read neighbouring
// 16 bytes, four such reads in flight each.
// Numerics: exact; all sums together are the sum of all words, which shows that each was read once.
// Source: after the STREAM benchmark, McCalpin 1995; reading alone, as decoding does.

struct Params {
  vec4s: u32,
  pad0: u32,
  pad1: u32,
  pad2: u32,
}

@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> sums: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let stride = groups.x * WORKGROUP_SIZE;
  var sum = vec4u(0u);
  var at = id.x;
  for (; at + 3u * stride < params.vec4s; at += 4u * stride) {
    let a = x[at];
    let b = x[at + stride];
    let c = x[at + 2u * stride];
    let d = x[at + 3u * stride];
    sum += (a + b) + (c + d);
  }
  for (; at < params.vec4s; at += stride) { sum += x[at]; }
  sums[id.x] = (sum.x + sum.y) + (sum.z + sum.w);
}
