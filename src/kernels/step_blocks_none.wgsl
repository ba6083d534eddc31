// Module: the names of step_blocks.wgsl where attention_step.wgsl ends in floats, without its binding, as each binding
// costs the CPU time at every dispatch.
//
// Gives: hold and put_units, which do nothing.
// Numerics: none.

fn hold(quarter: u32, value: vec4f) {}

fn put_units(row: u32, position: u32) {}
