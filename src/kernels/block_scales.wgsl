// Module: the scales of weights quantised in blocks of BLOCK columns, as matvec_blocks.wgsl reads them.
//
// Gives: ROW_UNITS, units of 32 columns from one row to the next; Scale and load_scale, that of unit i of the shard.
// Bindings: 2 the plane of scales, one f16 a block, two to a u32. Rows are padded to two blocks. Layout:
// quant/blocks.h.
// Numerics: exact; a device may flush scales that are subnormal halves to zero.

alias Scale = f32;

@group(0) @binding(2) var<storage, read> scales: array<u32>;

const ROW_UNITS = (COLUMNS + 2u * BLOCK - 1u) / (2u * BLOCK) * (2u * BLOCK / 32u);

fn load_scale(unit: u32) -> Scale {
  let block = unit / (BLOCK / 32u);
  let pair = unpack2x16float(scales[block / 2u]);
  return select(pair.x, pair.y, block % 2u == 1u);
}
