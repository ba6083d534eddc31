// The decoders and encoders of all formats of blocks: they read and write no more than their blocks, whatever the bits.
//
// The first byte picks the format, the rest are the blocks.
#include "quant/block_formats.h"

#include <cmath>
#include <cstring>

#include "fuzz_target.h"
#include "quant/float16.h"
#include "quant/float16_rows.h"
#include "quant/super_blocks.h"

namespace cria::fuzz {
namespace {

/// Decodes at an odd address; memory of the exact size, so that a sanitizer sees what lies beyond.
std::vector<float> decoded(const quant::BlockFormat& format, std::string_view blocks) {
  if (blocks.empty()) return {};
  std::vector<char> at_odd(1);
  at_odd.insert(at_odd.end(), blocks.begin(), blocks.end());
  const size_t count = blocks.size() / format.bytes;
  std::vector<float> values(count * format.elements);
  format.decode(reinterpret_cast<const std::byte*>(at_odd.data() + 1), count, values.data());
  return values;
}

void run_block_format(const quant::BlockFormat& format, std::string_view input) {
  const std::string_view blocks = input.substr(0, input.size() / format.bytes * format.bytes);
  const std::vector<float> values = decoded(format, blocks);
  if (format.encode == nullptr) return;
  std::vector<std::byte> encoded(blocks.size());
  format.encode(values, encoded.data());
  decoded(format, {reinterpret_cast<const char*>(encoded.data()), encoded.size()});
}

/// Values as they are in a file of floats, NaN and infinities among them: a block that cannot be stored must tell so.
void run_encoder(const quant::BlockFormat& format, std::string_view input) {
  std::vector<float> values(input.size() / sizeof(float) / format.elements * format.elements);
  if (values.empty()) return;
  std::memcpy(values.data(), input.data(), values.size() * sizeof(float));
  const size_t blocks = values.size() / format.elements;
  std::vector<std::byte> encoded(blocks * format.bytes);
  format.encode(values, encoded.data());
  const std::vector<float> back = decoded(format, {reinterpret_cast<const char*>(encoded.data()), encoded.size()});
  for (size_t b = 0; b < blocks; ++b) {
    const auto is_finite = [&](const std::vector<float>& list) {
      for (size_t i = 0; i < format.elements; ++i) {
        if (!std::isfinite(list[b * format.elements + i])) return false;
      }
      return true;
    };
    CRIA_CHECK(is_finite(values) || !is_finite(back));
  }
}

template <typename Block>
void run_planes(std::string_view input) {
  Block block;
  if (input.size() < sizeof(block)) return;
  std::memcpy(&block, input.data(), sizeof(block));
  const auto planes = quant::planes_of(block);
  CRIA_CHECK(planes.integers.size() * 4 + planes.scales.size() * 4 >= sizeof(block));
}

void run_halves(std::string_view input) {
  std::vector<float> values(input.size() / 2);
  quant::f16_to_f32(bytes_of(input).data(), values);
  for (const float value : values)
    CRIA_CHECK(std::isnan(value) || quant::f16_to_f32(quant::f32_to_f16(value)) == value);
  quant::bf16_to_f32(bytes_of(input).data(), values);
  for (const float value : values) {
    CRIA_CHECK(std::isnan(value) || quant::bf16_to_f32(quant::f32_to_bf16(value)) == value);
  }
}

}  // namespace

CRIA_FUZZ_TARGET(block_formats, 2048) {
  const auto formats = quant::block_formats();
  const unsigned choice = take_byte(input);
  if (choice < formats.size()) return run_block_format(formats[choice], input);
  if (choice < 2 * formats.size()) {
    const quant::BlockFormat& format = formats[choice - formats.size()];
    if (format.encode != nullptr) run_encoder(format, input);
    return;
  }
  run_planes<quant::BlockQ4_K>(input);
  run_planes<quant::BlockQ5_K>(input);
  run_planes<quant::BlockQ6_K>(input);
  run_halves(input);
}

}  // namespace cria::fuzz
