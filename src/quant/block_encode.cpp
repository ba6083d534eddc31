#include "quant/block_encode.h"

#include <cstring>

#include "quant/blocks.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

namespace cria::quant {

void encode_q8_0(std::span<const float> values, std::byte* out) {
  for (size_t at = 0; at < values.size(); at += kUnitColumns, out += sizeof(BlockQ8_0)) {
    BlockQ8_0 block{};
    block.scale = encode_int8_block(values.subspan(at, kUnitColumns), block.integers);
    std::memcpy(out, &block, sizeof(block));
  }
}

void encode_q4_0(std::span<const float> values, std::byte* out) {
  for (size_t at = 0; at < values.size(); at += kUnitColumns, out += sizeof(BlockQ4_0)) {
    BlockQ4_0 block{};
    int8_t integers[kUnitColumns];
    block.scale = encode_int4_block(values.subspan(at, kUnitColumns), integers);
    pack_int4_unit(integers, block.halves);
    std::memcpy(out, &block, sizeof(block));
  }
}

}  // namespace cria::quant
