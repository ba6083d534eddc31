#include "selftest/super_block_image.h"

#include <algorithm>
#include <cmath>

#include "quant/float16.h"
#include "quant/super_blocks.h"
#include "selftest/random.h"

namespace cria::selftest {
namespace {

using quant::BlockQ4_K;
using quant::BlockQ5_K;
using quant::BlockQ6_K;

/// What the bits of a block are.
enum class Kind : uint8_t { kRandom, kHighest, kLowest, kMixed };

/// An f16 from 2^-8 to 2^-2, of either sign.
uint16_t random_factor(Random& random) {
  return static_cast<uint16_t>(random.below(2) << 15U | (7 + random.below(6)) << 10U | random.below(1024));
}

template <size_t size, typename Byte>
void fill(Byte (&bytes)[size], Kind kind, Random& random) {
  for (Byte& byte : bytes) {
    const bool high = kind == Kind::kHighest || (kind == Kind::kMixed && random.below(2) == 1);
    byte = static_cast<Byte>(kind == Kind::kRandom ? random.below(256) : high ? 255 : 0);
  }
}

/// The ends of the signed scales of Q6_K.
void fill_signed(int8_t (&scales)[16], Kind kind, Random& random) {
  fill(scales, Kind::kRandom, random);
  if (kind == Kind::kRandom) return;
  for (int8_t& scale : scales) scale = random.below(2) == 0 ? int8_t{-128} : int8_t{127};
}

template <typename Block>
Block random_block(Random& random) {
  const auto kind = static_cast<Kind>(random.below(4));
  Block block{};
  block.scale = random_factor(random);
  if constexpr (std::is_same_v<Block, BlockQ6_K>) {
    fill(block.low, kind, random);
    fill(block.high, kind, random);
    fill_signed(block.scales, kind, random);
  } else {
    block.offset = random_factor(random);
    fill(block.scales, kind == Kind::kLowest ? Kind::kMixed : kind, random);
    fill(block.halves, kind, random);
    if constexpr (std::is_same_v<Block, BlockQ5_K>) fill(block.high, kind, random);
  }
  return block;
}

/// See make_up_super_blocks.
template <typename Block>
double magnitude(const Block& block, size_t column, double value) {
  if constexpr (std::is_same_v<Block, BlockQ6_K>) {
    return 2 * std::abs(value);
  } else {
    const quant::SixBitPair pair = quant::six_bit_pair(block.scales, static_cast<uint32_t>(column / 32));
    const double scale = std::abs(double{quant::f16_to_f32(block.scale)}) * pair.scale;
    const double offset = double{quant::f16_to_f32(block.offset)} * pair.offset;
    const double middle = std::is_same_v<Block, BlockQ4_K> ? 8 : 16;
    return 3 * middle * scale + std::abs(value + offset) + 2 * std::abs(offset);
  }
}

template <typename Block>
SuperBlockImage make_up(Table& table, Table& magnitudes) {
  const size_t bytes = table.values.size() * sizeof(double);
  Random random(std::string_view(reinterpret_cast<const char*>(table.values.data()), bytes));
  SuperBlockImage image;
  magnitudes = Table(table.rows, table.columns);
  for (size_t first = 0; first < table.values.size(); first += kernels::kSuperBlock) {
    const auto block = random_block<Block>(random);
    const auto planes = quant::planes_of(block);
    image.integers.insert(image.integers.end(), planes.integers.begin(), planes.integers.end());
    image.scales.insert(image.scales.end(), planes.scales.begin(), planes.scales.end());
    std::array<float, kernels::kSuperBlock> values{};
    decode(block, values);
    for (size_t i = 0; i < values.size(); ++i) {
      table.values[first + i] = values[i];
      magnitudes.values[first + i] = magnitude(block, i, values[i]);
    }
  }
  add_tail(image.integers);
  add_tail(image.scales);
  return image;
}

}  // namespace

SuperBlockImage make_up_super_blocks(kernels::WeightType type, Table& table, Table& magnitudes) {
  CRIA_CHECK(kernels::is_k_quant(type) && table.columns % kernels::kSuperBlock == 0);
  switch (type) {
    case kernels::WeightType::kQ4_K: return make_up<BlockQ4_K>(table, magnitudes);
    case kernels::WeightType::kQ5_K: return make_up<BlockQ5_K>(table, magnitudes);
    default: return make_up<BlockQ6_K>(table, magnitudes);
  }
}

}  // namespace cria::selftest
