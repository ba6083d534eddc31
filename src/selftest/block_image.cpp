#include "selftest/block_image.h"

#include <algorithm>

#include "quant/blocks.h"
#include "quant/float16.h"

namespace cria::selftest {

using kernels::WeightType;

BlockImage::BlockImage(const kernels::WeightFormat& format, Poison poison, size_t rows, size_t columns)
    : format_(format),
      stride_(kernels::padded_columns(static_cast<uint32_t>(columns), format)),
      values_(rows * stride_ * kernels::weight_type_bits(format.type) / 32 + kTailWords, static_cast<uint32_t>(poison)),
      scales_(rows * stride_ / format.block / 2 + kTailWords, static_cast<uint32_t>(poison)) {}

size_t BlockImage::bit_of(size_t row, size_t column) const {
  const size_t index = row * stride_ + column;
  if (format_.type == WeightType::kInt8) return 8 * index;
  const size_t in_unit = index % quant::kUnitColumns;  // byte j holds the columns j and j + 16
  return 4 * (index - in_unit) + 8 * (in_unit % 16) + 4 * (in_unit / 16);
}

int BlockImage::integer(size_t row, size_t column) const {
  const size_t bit = bit_of(row, column);
  const uint32_t bits = values_[bit / 32] >> (bit % 32);
  return format_.type == WeightType::kInt8 ? static_cast<int8_t>(bits & 0xFFU) : static_cast<int>(bits & 15U) - 8;
}

void BlockImage::set_integer(size_t row, size_t column, int integer) {
  const size_t bit = bit_of(row, column);
  const bool bytes = format_.type == WeightType::kInt8;
  const uint32_t mask = bytes ? 0xFF : 15;
  const uint32_t bits = static_cast<uint32_t>(bytes ? integer : integer + 8) & mask;
  values_[bit / 32] = (values_[bit / 32] & ~(mask << (bit % 32))) | (bits << (bit % 32));
}

uint16_t BlockImage::scale_bits(size_t row, size_t block) const {
  const size_t index = row * blocks() + block;
  return static_cast<uint16_t>(scales_[index / 2] >> (16 * (index % 2)));
}

void BlockImage::set_scale_bits(size_t row, size_t block, uint16_t bits) {
  const size_t index = row * blocks() + block;
  const size_t shift = 16 * (index % 2);
  scales_[index / 2] = (scales_[index / 2] & ~(0xFFFFU << shift)) | (uint32_t{bits} << shift);
}

void BlockImage::quantise(Table& table) {
  const bool bytes = format_.type == WeightType::kInt8;
  for (size_t row = 0; row < table.rows; ++row) {
    for (size_t first = 0; first < table.columns; first += format_.block) {
      const size_t count = std::min<size_t>(format_.block, table.columns - first);
      std::vector<float> block(count);
      for (size_t i = 0; i < count; ++i) block[i] = static_cast<float>(table.at(row, first + i));
      std::vector<int8_t> integers(count);
      uint16_t bits = bytes ? quant::encode_int8_block(block, integers) : quant::encode_int4_block(block, integers);
      if (std::abs(quant::f16_to_f32(bits)) < smallest_normal(Element::kF16)) bits = 0;
      set_scale_bits(row, first / format_.block, bits);
      for (size_t i = 0; i < count; ++i) {
        set_integer(row, first + i, integers[i]);
        table.at(row, first + i) = static_cast<double>(integers[i]) * quant::f16_to_f32(bits);
      }
    }
  }
}

void BlockImage::assign(std::span<const uint32_t> values, std::span<const uint32_t> scales) {
  CRIA_CHECK(values.size() == values_.size() && scales.size() == scales_.size());
  std::ranges::copy(values, values_.begin());
  std::ranges::copy(scales, scales_.begin());
}

}  // namespace cria::selftest
