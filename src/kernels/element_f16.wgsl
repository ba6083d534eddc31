// Module: outputs stored as f16.
//
// Gives: Element, how an output is stored, and element, which makes one.
// Numerics: rounded to f16; magnitudes above 65504 become 65504, so that they stay finite. NaN stays NaN.

alias Element = f16;

fn element(value: f32) -> Element {
  return Element(select(value, clamp(value, -65504.0, 65504.0), abs(value) > 65504.0));
}
