// What a device refuses, and what happens when it is lost: errors with names and numbers, never a hang.
#include "gpu/device.h"

#include <gtest/gtest.h>

#include <array>

#include "memory_limit.h"

namespace cria::gpu {
namespace {

constexpr std::string_view kDouble = R"(
struct Params { count: u32, a: u32, b: u32, c: u32 }
@group(0) @binding(1) var<storage, read_write> values: array<u32>;
@compute @workgroup_size(1) fn main() { values[0] = FACTOR * values[0] + params.count; }
)";

PipelineSpec spec_of(std::string_view source, std::vector<Constant> constants = {{"FACTOR", 2U}}) {
  return {.name = "double",
          .enables = {},
          .requirements = {},
          .constants = std::move(constants),
          .modules = {},
          .source = source,
          .bindings = {Access::kReadWrite},
          .params_bytes = 16};
}

Device open_device(const DeviceOptions& options = {}) {
  auto device = Device::open(options);
  EXPECT_TRUE(device) << device.error().message();
  return *std::move(device);
}

/// The message of a failed Status or Result; fails the test where it did not fail, or for another reason.
template <typename T>
std::string refusal(const Result<T>& result, ErrorCode code) {
  if (result) {
    ADD_FAILURE() << "accepted";
    return "";
  }
  EXPECT_EQ(result.error().code(), code);
  return result.error().message();
}

void expect_says(const std::string& message, std::string_view phrase) {
  EXPECT_NE(message.find(phrase), std::string::npos) << message;
}

TEST(Device, RunsAKernel) {
  Device device = open_device();
  const auto pipeline = device.create_pipeline(spec_of(kDouble));
  ASSERT_TRUE(pipeline) << pipeline.error().message();
  const Buffer buffer = device.create_buffer("values", 4, MemoryKind::kScratch).value();
  const uint32_t value = 20;
  ASSERT_TRUE(device.write(buffer, 0, std::as_bytes(std::span(&value, 1))));
  Recorder recorder = device.record("test");
  const std::array<uint32_t, 4> params = {2, 0, 0, 0};
  const Binding bindings[] = {buffer};
  recorder.dispatch(*pipeline, as_params(params), bindings, {1, 1, 1});
  ASSERT_TRUE(recorder.submit());
  const auto bytes = device.read(buffer, 0, 4);
  ASSERT_TRUE(bytes) << bytes.error().message();
  EXPECT_EQ((*bytes)[0], std::byte{42});
}

constexpr std::string_view kAddFirst = R"(
struct Params { factor: u32, a: u32, b: u32, c: u32 }
@group(0) @binding(1) var<storage, read> more: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@compute @workgroup_size(1) fn main() { values[0] = params.factor * values[0] + more[0] + more[arrayLength(&more) - 1u]; }
)";

TEST(Recorder, UploadsCountForAllOfItsSubmissions) {
  Device device = open_device();
  PipelineSpec spec = spec_of(kAddFirst, {});
  spec.bindings = {Access::kRead, Access::kReadWrite};
  const Pipeline pipeline = device.create_pipeline(spec).value();
  const Buffer buffer = device.create_buffer("values", 4, MemoryKind::kScratch).value();
  const std::array<uint32_t, 4> ten = {10, 0, 0, 0};
  for (int again = 0; again < 2; ++again) {
    const uint32_t zero = 0;
    ASSERT_TRUE(device.write(buffer, 0, std::as_bytes(std::span(&zero, 1))));
    Recorder recorder = device.record("test");
    std::vector<uint32_t> digits(64);  // a whole piece: the kernel adds its first and its last word
    const auto upload = [&](uint32_t digit) {
      digits.front() = digit;
      return recorder.upload(std::as_bytes(std::span(digits))).value();
    };
    const auto add = [&](const Range& range) {
      const Binding bindings[] = {range, buffer};
      recorder.dispatch(pipeline, as_params(ten), bindings, {1, 1, 1});
    };
    const Range one = upload(1);
    const Range two = upload(2);
    add(one);
    recorder.split();
    add(two);
    add(upload(3));
    recorder.split();
    add(one);
    ASSERT_TRUE(recorder.submit());
    const auto bytes = device.read(buffer, 0, 4).value();
    uint32_t sum = 0;
    std::memcpy(&sum, bytes.data(), 4);
    EXPECT_EQ(sum, 1231U);
  }
}

TEST(Recorder, WhatDoesNotFitIsNotUploaded) {
  Device device = open_device();
  Recorder recorder = device.record("test");
  const std::vector<std::byte> half(16 << 10);
  EXPECT_FALSE(recorder.upload(std::vector<std::byte>(33 << 10)));
  EXPECT_TRUE(recorder.upload(half));
  EXPECT_TRUE(recorder.upload(half));
  EXPECT_FALSE(recorder.upload(std::span(half).first(1)));
  EXPECT_TRUE(device.record("another").upload(half));
}

TEST(Device, WhatIsLargeIsUploadedToItsHome) {
  Device device = open_device();
  const Buffer home = device.create_buffer("home", 32 << 10, MemoryKind::kScratch).value();
  const std::vector<std::byte> many(20 << 10, std::byte{7});
  const auto few = std::span(many).first(15 << 10);
  Recorder recorder = device.record("test");
  const auto is_home = [&](std::span<const std::byte> bytes) {
    return &device.upload(recorder, home, bytes).value().buffer.impl() == &home.impl();
  };
  EXPECT_FALSE(is_home(few));
  EXPECT_TRUE(is_home(many));
  EXPECT_FALSE(is_home(few));
  EXPECT_TRUE(is_home(few)) << "there is no room left";
  ASSERT_TRUE(recorder.submit());
  EXPECT_EQ(device.read(home, 0, many.size()).value(), many);
}

TEST(Device, ABufferOverTheLimitIsNamedWithItsBytes) {
  Device device = open_device();
  const uint64_t limit = device.limits().max_buffer_bytes;
  const std::string message =
      refusal(device.create_buffer("model.embed_tokens", limit + 1, MemoryKind::kWeights), ErrorCode::kOutOfMemory);
  expect_says(message, "model.embed_tokens");
  expect_says(message, "needs a buffer of " + with_commas(limit + 1) + " bytes");
  expect_says(message, with_commas(limit));
  EXPECT_EQ(device.memory_bytes(MemoryKind::kWeights), 0U);
}

#ifdef __linux__
TEST(Device, AnAllocationThatTheDriverRefusesIsNamedWithItsBytes) {
  Device device = open_device();
  if (!refuses_memory(device.info())) GTEST_SKIP() << kNoRefusal;
  const uint64_t bytes = std::min<uint64_t>(device.limits().max_buffer_bytes, 1ULL << 30);
  const auto create = [&] {
    const MemoryLimit limit(bytes / 2);
    return device.create_buffer("model.embed_tokens", bytes, MemoryKind::kWeights);
  };
  const std::string message = refusal(create(), ErrorCode::kOutOfMemory);
  expect_says(message, "model.embed_tokens: " + device.info().name + " refused to allocate " + with_commas(bytes));
  // The refusal is over with its error: the device goes on.
  EXPECT_TRUE(device.create_buffer("small", 1024, MemoryKind::kWeights));
  EXPECT_TRUE(device.wait_idle());
}
#endif

DeviceOptions with_selector(const std::string& selector) {
  DeviceOptions options;
  options.selector = selector;
  return options;
}

DeviceOptions with_limit(uint64_t bytes) {
  DeviceOptions options;
  options.binding_limit = bytes;
  return options;
}

TEST(Device, UnknownSelectorsAndLimitsAreRefusedWithWhatThereIs) {
  const std::string first = open_device().info().name;
  expect_says(refusal(Device::open(with_selector("99")), ErrorCode::kNotFound),
              "no device matches \"99\": there is 0 (" + first);
  expect_says(refusal(Device::open(with_selector("voodoo")), ErrorCode::kNotFound), "no device matches \"voodoo\"");
  expect_says(refusal(Device::open(with_limit(1)), ErrorCode::kInvalidInput), "the binding limit is 1 bytes, outside");
  expect_says(refusal(Device::open(with_limit(1ULL << 60)), ErrorCode::kInvalidInput), "outside 16,384 to ");
  EXPECT_EQ(open_device(with_limit(100'000)).limits().max_binding_bytes, 99'840U) << "rounded down to 256";
  expect_says(refusal(parse_features("f16,f8"), ErrorCode::kInvalidInput), "there is no feature \"f8\"");
}

TEST(Pipeline, AWrongShaderIsAnErrorWithItsName) {
  Device device = open_device();
  const std::string unfinished = std::string(kDouble) + "@compute fn more() {";
  expect_says(refusal(device.create_pipeline(spec_of(unfinished)), ErrorCode::kDevice), "shader double: Error while");
  expect_says(refusal(device.create_pipeline(spec_of(kDouble, {{"FACTOR", 2U}, {"SPARE", 1U}})), ErrorCode::kDevice),
              "the parameter SPARE is unknown to it");
  expect_says(refusal(device.create_pipeline(spec_of(kDouble, {})), ErrorCode::kDevice), "FACTOR");
  EXPECT_TRUE(device.wait_idle()) << "an error that was reported is not reported again";
}

TEST(Pipeline, ShadersAreBuiltOnce) {
  Device device = open_device();
  const Pipeline first = device.create_pipeline(spec_of(kDouble)).value();
  EXPECT_EQ(&device.create_pipeline(spec_of(kDouble))->impl(), &first.impl());
  EXPECT_NE(&device.create_pipeline(spec_of(kDouble, {{"FACTOR", 3U}}))->impl(), &first.impl());
}

class LostDevice : public testing::TestWithParam<bool> {};

INSTANTIATE_TEST_SUITE_P(Validates, LostDevice, testing::Bool());

TEST_P(LostDevice, EveryUseSaysSo) {
  DeviceOptions options;
  options.validates = GetParam();
  Device device = open_device(options);
  const Buffer buffer = device.create_buffer("values", 1024, MemoryKind::kScratch).value();
  Recorder under_way = device.record("under way");
  PendingRead pending = under_way.read(buffer, 0, 1024).value();
  ASSERT_TRUE(under_way.submit());
  device.force_loss("the test pulled the plug");

  const auto expect_lost = [&](const auto& result, const char* what) {
    SCOPED_TRACE(what);
    expect_says(refusal(result, ErrorCode::kDevice), "the device was lost: the test pulled the plug");
  };
  expect_lost(pending.wait(), "a read under way");
  expect_lost(device.check(), "check");
  expect_lost(device.wait_idle(), "wait_idle");
  expect_lost(device.create_buffer("more", 1024, MemoryKind::kScratch), "create_buffer");
  expect_lost(device.create_pipeline(spec_of(kDouble)), "create_pipeline");
  expect_lost(device.read(buffer, 0, 1024), "read");
  Recorder recorder = device.record("after", Timing::kKernels);
  expect_lost(recorder.submit(), "submit");
  EXPECT_EQ(device.memory_bytes(MemoryKind::kScratch), 1024U) << "what was refused is not counted";
}

TEST_P(LostDevice, AnotherCanBeOpened) {
  open_device().force_loss("the test pulled the plug");
  Device device = open_device();
  EXPECT_TRUE(device.create_buffer("values", 1024, MemoryKind::kScratch));
  EXPECT_TRUE(device.wait_idle());
}

}  // namespace
}  // namespace cria::gpu
