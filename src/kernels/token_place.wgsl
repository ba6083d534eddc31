// Module: where the tokens of a decode step stand (attention_step.wgsl, matvec_put_rope.wgsl). Of the only token that is
// told among the parameters, which saves two looks, one after the other.
//
// Gives: place_of, a token's position and slot; page_of, the page of a position. Needs the shader's token_info and
// page_table, and in its Params pages_per_slot and what TokenPlace (token_place.h) has.
// Numerics: none.

const IN_TABLE = 0xffffffffu;

fn place_of(token: u32) -> vec2u {
  if (params.has_place == 0u) { return token_info[token]; }
  return vec2u(params.position, params.slot);
}

fn page_of(slot: u32, position: u32) -> u32 {
  if (params.first_page == IN_TABLE) { return page_table[slot * params.pages_per_slot + position / PAGE_SIZE]; }
  return params.first_page + position / PAGE_SIZE;
}
