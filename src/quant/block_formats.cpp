#include "quant/block_formats.h"

#include <algorithm>
#include <cstring>

#include "quant/block_encode.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/k_quant_encode.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace cria::quant {
namespace {

template <typename Block, uint32_t elements>
constexpr BlockFormat format(std::string_view name, void (*encode)(std::span<const float>, std::byte*) = nullptr) {
  return {name, elements, sizeof(Block),
          [](const std::byte* data, size_t blocks, float* out) {
            for (size_t i = 0; i < blocks; ++i) {
              Block block;
              std::memcpy(&block, data + i * sizeof(Block), sizeof(Block));
              decode(block, std::span<float, elements>(out + i * elements, elements));
            }
          },
          encode};
}

constexpr BlockFormat kFormats[] = {
    format<BlockQ4_0, 32>("Q4_0", encode_q4_0),
    format<BlockQ4_1, 32>("Q4_1"),
    format<BlockQ5_0, 32>("Q5_0"),
    format<BlockQ5_1, 32>("Q5_1"),
    format<BlockQ8_0, 32>("Q8_0", encode_q8_0),
    format<BlockQ2_K, 256>("Q2_K"),
    format<BlockQ3_K, 256>("Q3_K"),
    format<BlockQ4_K, 256>("Q4_K", encode_q4_k),
    format<BlockQ5_K, 256>("Q5_K", encode_q5_k),
    format<BlockQ6_K, 256>("Q6_K", encode_q6_k),
    format<BlockIQ4_NL, 32>("IQ4_NL"),
    format<BlockIQ4_XS, 256>("IQ4_XS"),
};

}  // namespace

std::span<const BlockFormat> block_formats() { return kFormats; }

const BlockFormat* find_block_format(std::string_view name) {
  const auto* found = std::ranges::find(kFormats, name, &BlockFormat::name);
  return found == std::end(kFormats) ? nullptr : found;
}

}  // namespace cria::quant
