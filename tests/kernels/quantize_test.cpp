// Quantising on the GPU gives the bits of the CPU on any device that WebGPU allows, of which none here divides badly:
// so the shader is told to.
#include "kernels/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/embedded.h"
#include "quant/blocks.h"
#include "quant/float16.h"

namespace cria::kernels {
namespace {

constexpr uint32_t kBlock = 32;
constexpr uint32_t kWorkgroup = 64;
/// Two blocks a row.
constexpr uint32_t kColumns = 2 * kBlock;

/// For each number of 11 bits s a block that has the scale s: values s (k + 1/2), which are as far from k as from k
/// + 1.
std::vector<float> blocks_of_ties() {
  std::vector<float> values;
  for (uint32_t significand = 1024; significand < 2048; ++significand) {
    const float scale = std::ldexp(static_cast<float>(significand), -20);
    for (uint32_t i = 0; i < kBlock; ++i) {
      const auto k = static_cast<float>((significand + i * 37) % 254) - 127;
      values.push_back(i == 0 ? 127 * scale : (k + 0.5F) * scale);
    }
  }
  return values;
}

/// quantize.wgsl to int8, with `quotient` in place of 1 / scale, once.
std::vector<uint32_t> quantise(gpu::Device& device, const std::string& quotient, const std::vector<float>& values,
                               std::vector<uint32_t>& scales) {
  std::string source(shader_source("quantize"));
  const std::string_view exact = "1.0 / scale";
  const size_t at = source.find(exact);
  CRIA_CHECK(at != std::string::npos && source.find(exact, at + 1) == std::string::npos);
  source.replace(at, exact.size(), quotient);
  const gpu::PipelineSpec spec{
      .name = "quantize with " + quotient,
      .enables = {},
      .requirements = {},
      .constants = {{"BLOCK", kBlock}, {"BITS", 8U}, {"WORKGROUP_SIZE", kWorkgroup}},
      .modules = {shader_source("weights_f32")},
      .source = source,
      .bindings = {gpu::Access::kRead, gpu::Access::kRead, gpu::Access::kReadWrite, gpu::Access::kReadWrite},
      .params_bytes = 16};
  auto pipeline = device.create_pipeline(spec);
  EXPECT_TRUE(pipeline) << pipeline.error().message();
  CRIA_CHECK(pipeline.has_value());
  const auto buffer = [&](uint64_t bytes) { return *device.create_buffer("data", bytes, gpu::MemoryKind::kScratch); };
  const gpu::Buffer from = buffer(4 * values.size());
  const gpu::Buffer to = buffer(values.size());
  const gpu::Buffer to_scales = buffer(2 * values.size() / kBlock);
  EXPECT_TRUE(device.write(from, 0, std::as_bytes(std::span(values))));
  const auto rows = static_cast<uint32_t>(values.size()) / kColumns;
  const std::array<uint32_t, 4> params = {rows, kColumns, 0, rows};
  gpu::Recorder recorder = device.record("quantise test");
  const gpu::Binding bindings[] = {from, from, to, to_scales};
  recorder.dispatch(*pipeline, gpu::as_params(params), bindings, {1, rows, 1});
  auto integers_read = recorder.read(to, 0, to.size_bytes());
  auto scales_read = recorder.read(to_scales, 0, to_scales.size_bytes());
  EXPECT_TRUE(recorder.submit());
  scales = scales_read->values<uint32_t>().value();
  return integers_read->values<uint32_t>().value();
}

/// WGSL allows a quotient 2.5 units in the last place.
TEST(Quantize, AnyDivisionThatWgslAllowsGivesTheBitsOfTheCpu) {
  auto device = gpu::Device::open({});
  ASSERT_TRUE(device) << device.error().message();
  const std::vector<float> values = blocks_of_ties();
  std::vector<int8_t> expected(values.size());
  std::vector<uint16_t> expected_scales;
  for (size_t first = 0; first < values.size(); first += kBlock) {
    expected_scales.push_back(
        quant::encode_int8_block(std::span(values).subspan(first, kBlock), std::span(expected).subspan(first, kBlock)));
  }
  for (const int ulps : {0, -3, 3}) {
    std::vector<uint32_t> scales;
    const std::vector<uint32_t> words =
        quantise(*device, fmt::format("bitcast<f32>(bitcast<u32>(1.0 / scale) + {}u)", static_cast<uint32_t>(ulps)),
                 values, scales);
    ASSERT_EQ(words.size() * 4, expected.size());
    ASSERT_EQ(scales.size() * 2, expected_scales.size());
    EXPECT_EQ(std::memcmp(scales.data(), expected_scales.data(), scales.size() * 4), 0) << ulps << " ULP";
    std::vector<int8_t> integers(expected.size());
    std::memcpy(integers.data(), words.data(), integers.size());
    for (size_t i = 0; i < integers.size(); ++i) {
      ASSERT_EQ(integers[i], expected[i]) << values[i] << " of block " << i / kBlock << ", " << ulps << " ULP off";
    }
  }
}

}  // namespace
}  // namespace cria::kernels
