// Module: outputs stored as f32.
//
// Gives: Element, how an output is stored, and element, which makes one.
// Numerics: exact.

alias Element = f32;

fn element(value: f32) -> Element { return value; }
