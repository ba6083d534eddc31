// Made-up weights: w[e] = noise(first + e) * 2^-11, the noise a sum of four random whole numbers
//
// Shapes: w, any number of elements of one type (rows and their padding alike), 16 bytes at a time.
// Bindings: 1 w, written as words.
// Dispatch: one invocation per 16 bytes, in groups of WORKGROUP_SIZE (folded into x and y).
// ENCODING: 0 f32, 1 f16, 2 bf16 (two elements to a word), 3 random bits (one word an element).
// Numerics: the noise is whole, from -126 to 126, with mean 0 and standard deviation 37: 7 bits, so that
// f32, f16 and bf16 hold the same values exactly. Times 2^-11 that is close to N(0, 0.018).
// Source: PCG hash, O'Neill 2014, in the form of Jarzynski & Olano 2020, "Hash Functions for GPU Rendering".

struct Params {
  vec4s: u32,  // to write
  first: u32,  // the number of the first element
  seed: u32,
  pad0: u32,
}

@group(0) @binding(1) var<storage, read_write> w: array<vec4u>;

const ENCODING_F32 = 0u;
const ENCODING_F16 = 1u;
const ENCODING_BF16 = 2u;

fn pcg(value: u32) -> u32 {
  let state = value * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

fn random_bits(element: u32) -> u32 { return pcg(pcg(element) ^ params.seed); }

fn weight(element: u32) -> f32 {
  let bits = random_bits(element);
  let sum = (bits & 63u) + ((bits >> 6u) & 63u) + ((bits >> 12u) & 63u) + ((bits >> 18u) & 63u);
  return f32(i32(sum) - 126) / 2048.0;
}

/// The word that holds element `element`, or it and the one after it.
fn encoded(element: u32) -> u32 {
  switch ENCODING {
    case ENCODING_F32: { return bitcast<u32>(weight(element)); }
    case ENCODING_F16: { return pack2x16float(vec2f(weight(element), weight(element + 1u))); }
    case ENCODING_BF16: {
      return (bitcast<u32>(weight(element)) >> 16u) | (bitcast<u32>(weight(element + 1u)) & 0xFFFF0000u);
    }
    default: { return random_bits(element); }
  }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u,
        @builtin(num_workgroups) groups: vec3u) {
  let index = (group.x + group.y * groups.x) * WORKGROUP_SIZE + lane;
  if (index >= params.vec4s) { return; }
  let per_word = select(1u, 2u, ENCODING == ENCODING_F16 || ENCODING == ENCODING_BF16);
  let first = params.first + index * 4u * per_word;
  w[index] = vec4u(encoded(first), encoded(first + per_word), encoded(first + 2u * per_word),
                   encoded(first + 3u * per_word));
}
