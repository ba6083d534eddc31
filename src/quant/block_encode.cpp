#include "quant/block_encode.h"

#include <array>
#include <cmath>
#include <cstring>

#include "quant/blocks.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

namespace cria::quant {
namespace {

constexpr uint16_t kNotStored = 0x7E00;  // NaN
constexpr size_t kGroup = kLanes * kUnitColumns;

/// Eight blocks, one in each lane, those behind the last 0.
struct Group {
  Lanes values[kUnitColumns];
};

CRIA_INLINE void take_group(std::span<const float> values, Group& group) {
  if (values.size() < kGroup) group = {};
  for (size_t lane = 0; lane < kLanes && lane * kUnitColumns < values.size(); ++lane) {
    for (size_t i = 0; i < kUnitColumns; ++i) group.values[i][lane] = values[lane * kUnitColumns + i];
  }
}

/// Turns values into integers in [low, high]; 0 where a block cannot be stored. Returns the scales as f16.
CRIA_INLINE void quantise_group(Group& group, const Lanes& scales, float least, float most,
                                std::array<uint16_t, kLanes>& bits) {
  Lanes divisor = scales;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    const bool is_storable = std::isfinite(scales[lane]);
    bits[lane] = is_storable ? f32_to_f16(scales[lane]) : kNotStored;
    if (!is_storable) divisor[lane] = 0;
  }
  Lanes low;
  Lanes high;
  fill(low, least);
  fill(high, most);
  const Lanes zero{};
  for (Lanes& value : group.values) {
    Lanes integer = value / divisor;
    clamp(integer, low, high);
    round_to_whole(integer);
    select_less(zero, divisor * divisor, integer, zero, value);
  }
}

}  // namespace

CRIA_PROCESSOR_CLONES void encode_q8_0(std::span<const float> values, std::byte* out) {
  Group group;
  for (size_t at = 0; at < values.size(); at += kGroup, out += kLanes * sizeof(BlockQ8_0)) {
    const size_t blocks = std::min(values.size() - at, kGroup) / kUnitColumns;
    take_group(values.subspan(at, blocks * kUnitColumns), group);
    Lanes scales;
    int8_scales(group.values, kUnitColumns, scales);
    std::array<uint16_t, kLanes> bits;
    quantise_group(group, scales, -127, 127, bits);
    for (size_t lane = 0; lane < blocks; ++lane) {
      std::byte* block = out + lane * sizeof(BlockQ8_0);
      std::memcpy(block, &bits[lane], sizeof(uint16_t));
      for (size_t i = 0; i < kUnitColumns; ++i) {
        block[sizeof(uint16_t) + i] = static_cast<std::byte>(static_cast<int8_t>(group.values[i][lane]));
      }
    }
  }
}

CRIA_PROCESSOR_CLONES void encode_q4_0(std::span<const float> values, std::byte* out) {
  constexpr size_t kHalf = kUnitColumns / 2;
  Lanes both;  // 8 more in either half
  Lanes sixteen;
  fill(both, 8 * 17);
  fill(sixteen, 16);
  Group group;
  for (size_t at = 0; at < values.size(); at += kGroup, out += kLanes * sizeof(BlockQ4_0)) {
    const size_t blocks = std::min(values.size() - at, kGroup) / kUnitColumns;
    take_group(values.subspan(at, blocks * kUnitColumns), group);
    Lanes scales;
    int4_scales(group.values, kUnitColumns, scales);
    std::array<uint16_t, kLanes> bits;
    quantise_group(group, scales, -8, 7, bits);
    for (size_t j = 0; j < kHalf; ++j) {
      group.values[j] = group.values[j] + group.values[j + kHalf] * sixteen + both;
    }
    for (size_t lane = 0; lane < blocks; ++lane) {
      std::byte* block = out + lane * sizeof(BlockQ4_0);
      std::memcpy(block, &bits[lane], sizeof(uint16_t));
      for (size_t j = 0; j < kHalf; ++j) {
        block[sizeof(uint16_t) + j] = static_cast<std::byte>(static_cast<int>(group.values[j][lane]));
      }
    }
  }
}

}  // namespace cria::quant
