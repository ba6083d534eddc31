#include "quant/super_blocks.h"

#include <cstring>

namespace cria::quant {
namespace {

constexpr size_t kUnits = 8;
constexpr uint32_t kHalves = 0x0F0F0F0FU;

uint32_t word_at(const uint8_t* bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

/// The four words of a unit: from 32 bytes, whose low (shift 0) or high halves (shift 4) are its columns in order.
void put_unit(const uint8_t* bytes, size_t shift, uint32_t* words) {
  for (size_t i = 0; i < 4; ++i) {
    words[i] = ((word_at(bytes + 4 * i) >> shift) & kHalves) | ((word_at(bytes + 16 + 4 * i) >> shift) & kHalves) << 4U;
  }
}

/// The low halves of Q4_K and Q5_K: two units share 32 bytes.
void put_halves(const uint8_t (&halves)[128], uint32_t* words) {
  for (size_t unit = 0; unit < kUnits; ++unit) put_unit(halves + unit / 2 * 32, unit % 2 * 4, words + 4 * unit);
}

/// Scales and offsets of Q4_K and Q5_K.
std::array<uint32_t, 4> header_of(uint16_t scale, uint16_t offset, const uint8_t (&scales)[12]) {
  std::array<uint32_t, 4> words = {scale | uint32_t{offset} << 16U, 0, 0, 0};
  for (size_t unit = 0; unit < kUnits; ++unit) {
    const SixBitPair pair = six_bit_pair(scales, static_cast<uint32_t>(unit));
    words[1 + unit / 4] |= (pair.scale | pair.offset >> 4U << 6U) << (unit % 4 * 8);
    words[3] |= (pair.offset & 15U) << (4 * unit);
  }
  return words;
}

}  // namespace

SuperBlockPlanes<32, 4> planes_of(const BlockQ4_K& block) {
  SuperBlockPlanes<32, 4> planes;
  put_halves(block.halves, planes.integers.data());
  planes.scales = header_of(block.scale, block.offset, block.scales);
  return planes;
}

SuperBlockPlanes<40, 4> planes_of(const BlockQ5_K& block) {
  SuperBlockPlanes<40, 4> planes;
  put_halves(block.halves, planes.integers.data());
  for (size_t unit = 0; unit < kUnits; ++unit) {
    for (size_t i = 0; i < 8; ++i) {
      planes.integers[32 + unit] |= ((word_at(block.high + 4 * i) >> unit) & 0x01010101U) << i;
    }
  }
  planes.scales = header_of(block.scale, block.offset, block.scales);
  return planes;
}

SuperBlockPlanes<48, 5> planes_of(const BlockQ6_K& block) {
  SuperBlockPlanes<48, 5> planes;
  for (size_t unit = 0; unit < kUnits; ++unit) {
    const size_t n = unit / 4;
    const size_t k = unit % 4;
    put_unit(block.low + 64 * n + 32 * (k % 2), k / 2 * 4, planes.integers.data() + 4 * unit);
    for (size_t half = 0; half < 2; ++half) {
      uint32_t& word = planes.integers[32 + 2 * unit + half];
      for (size_t i = 0; i < 4; ++i) {
        word |= ((word_at(block.high + 32 * n + 16 * half + 4 * i) >> (2 * k)) & 0x03030303U) << (2 * i);
      }
      word ^= 0xAAAAAAAAU;  // minus 32: the highest bit turns
    }
  }
  std::memcpy(planes.scales.data(), block.scales, sizeof(block.scales));
  planes.scales[4] = block.scale;
  return planes;
}

}  // namespace cria::quant
