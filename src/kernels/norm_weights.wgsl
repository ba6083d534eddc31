// Module: the weights of a norm.
//
// Gives: norm_at, four of them.
// Bindings: NORM_BINDING norm f32 as vec4.
// Numerics: f32.

@group(0) @binding(NORM_BINDING) var<storage, read> norm: array<vec4f>;

fn norm_at(four: u32) -> vec4f { return norm[four]; }
