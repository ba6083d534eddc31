#include "engine/bandwidth.h"

#include <algorithm>

#include "base/clock.h"
#include "engine/median.h"
#include "kernels/fill_random.h"
#include "kernels/read_bandwidth.h"

namespace cria::engine {
namespace {

constexpr uint64_t kLargestBuffer = 1ULL << 30;
constexpr uint64_t kSmallestBuffer = 16ULL << 20;
/// A software device reads at the speed of its processor, whose time is better spent otherwise.
constexpr uint64_t kSoftwareBuffer = 64ULL << 20;
/// Enough for the clocks of a GPU to rise: cold, they mislead by a factor of up to three.
constexpr double kWarmUpSeconds = 0.1;
/// So long that submitting and waiting (some 0.1 ms) do not count.
constexpr double kSampleSeconds = 0.04;
constexpr uint32_t kSamples = 3;
constexpr uint64_t kLinkBytes = 64ULL << 20;
constexpr uint32_t kMaxReads = 1000;  // in one submission
constexpr uint32_t kWorkgroups[] = {1024, 2048, 4096, 8192};

/// The largest buffer that there is room for.
Result<gpu::Buffer> create_large_buffer(gpu::Device& device) {
  const uint64_t limit = std::min(device.limits().max_binding_bytes, device.limits().max_buffer_bytes);
  const uint64_t wanted = device.info().is_software() ? kSoftwareBuffer : kLargestBuffer;
  for (uint64_t bytes = std::min(wanted, limit / 256 * 256);; bytes = bytes / 512 * 256) {
    auto buffer = device.create_buffer("bandwidth test", bytes, gpu::MemoryKind::kScratch);
    if (buffer || buffer.error().code() != ErrorCode::kOutOfMemory || bytes / 2 < kSmallestBuffer) return buffer;
  }
}

struct Reader {
  gpu::Device& device;
  kernels::ReadBandwidth kernel;
  gpu::Buffer buffer;
  gpu::Buffer sums;

  /// Seconds that `reads` passes over the buffer take.
  Result<double> time(uint32_t workgroups, uint32_t reads) {
    const auto start = Clock::now();
    gpu::Recorder recorder = device.record("bandwidth test");
    for (uint32_t i = 0; i < reads; ++i) kernel.record(recorder, buffer, sums, workgroups);
    CRIA_TRY(recorder.submit());
    CRIA_TRY(device.wait_idle());
    return seconds_since(start);
  }
};

Result<Reader> create_reader(gpu::Device& device) {
  Reader reader{.device = device, .kernel = {}, .buffer = {}, .sums = {}};
  CRIA_TRY_ASSIGN(reader.kernel, kernels::ReadBandwidth::create(device));
  CRIA_TRY_ASSIGN(reader.buffer, create_large_buffer(device));
  const uint32_t invocations = kernels::ReadBandwidth::invocations(*std::ranges::max_element(kWorkgroups));
  CRIA_TRY_ASSIGN(reader.sums,
                  device.create_buffer("bandwidth sums", uint64_t{invocations} * 4, gpu::MemoryKind::kScratch));
  // Random bits, as drivers may store zeros compressed.
  CRIA_TRY_ASSIGN(const kernels::FillRandom fill, kernels::FillRandom::create(device, kernels::Encoding::kBits));
  gpu::Recorder recorder = device.record("bandwidth test");
  fill.record(recorder, reader.buffer, 1, 0);
  CRIA_TRY(recorder.submit());
  CRIA_TRY(device.wait_idle());
  return reader;
}

}  // namespace

Result<Bandwidth> measure_read_bandwidth(gpu::Device& device) {
  CRIA_TRY_ASSIGN(Reader reader, create_reader(device));
  double seconds_per_read = 0;
  for (double warm = 0; warm < kWarmUpSeconds; warm += seconds_per_read) {
    CRIA_TRY_ASSIGN(seconds_per_read, reader.time(kWorkgroups[0], 1));
  }
  const auto reads = static_cast<uint32_t>(std::clamp(kSampleSeconds / seconds_per_read, 1.0, double{kMaxReads}));
  Bandwidth bandwidth{.bytes_per_second = 0, .buffer_bytes = reader.buffer.size_bytes()};
  const double bytes = static_cast<double>(reads) * static_cast<double>(bandwidth.buffer_bytes);
  for (const uint32_t workgroups : kWorkgroups) {
    std::vector<double> samples;
    for (uint32_t i = 0; i < kSamples; ++i) {
      CRIA_TRY_ASSIGN(const double seconds, reader.time(workgroups, reads));
      samples.push_back(bytes / seconds);
    }
    bandwidth.bytes_per_second = std::max(bandwidth.bytes_per_second, median(std::move(samples)));
  }
  return bandwidth;
}

Result<double> measure_link_bandwidth(gpu::Device& device) {
  const uint64_t budget = device.memory_budget();
  const uint64_t bytes = budget == 0 ? kLinkBytes : std::min(kLinkBytes, budget / 4 / 4 * 4);
  CRIA_TRY_ASSIGN(gpu::HostBuffer source, device.create_host_buffer("link test", bytes));
  source.seal();
  CRIA_TRY_ASSIGN(const gpu::Buffer target, device.create_buffer("link test", bytes, gpu::MemoryKind::kScratch));
  const auto time = [&](uint32_t copies) -> Result<double> {
    const auto start = Clock::now();
    gpu::Recorder recorder = device.record("link test");
    for (uint32_t i = 0; i < copies; ++i) recorder.copy(source, 0, target, 0, bytes);
    CRIA_TRY(recorder.submit());
    CRIA_TRY(device.wait_idle());
    return seconds_since(start);
  };
  CRIA_TRY_ASSIGN(const double first, time(1));
  const auto copies = static_cast<uint32_t>(std::clamp(kSampleSeconds / first, 1.0, double{kMaxReads}));
  std::vector<double> samples;
  for (uint32_t i = 0; i < kSamples; ++i) {
    CRIA_TRY_ASSIGN(const double seconds, time(copies));
    samples.push_back(static_cast<double>(bytes) * copies / seconds);
  }
  return median(std::move(samples));
}

}  // namespace cria::engine
