// Module: no bias; the names of bias.wgsl without its binding, as each binding costs the CPU time at every dispatch.
//
// Gives: bias_at, which is 0.
// Numerics: f32.

fn bias_at(row: u32) -> f32 { return 0.0; }
