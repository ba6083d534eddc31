// What stands behind the handles of gpu/device.h. Included only by the .cpp files of this folder.
#pragma once

#include <webgpu/webgpu_cpp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "gpu/blob_cache.h"
#include "gpu/device.h"

namespace cria::gpu::detail {

/// The process's WebGPU instance and its adapters in the order of list_devices().
struct Instance {
  wgpu::Instance handle;
  std::vector<wgpu::Adapter> adapters;
  std::vector<DeviceInfo> infos;
};

/// Creates the instance on first use. Errors: kNotFound where no driver gives an adapter.
Result<Instance*> shared_instance();

/// What a bind group is made of, as a key of the cache.
struct BindGroupKey {
  static constexpr size_t kMaxBindings = 12;
  struct Range {
    uint64_t buffer = 0;  // its id
    uint64_t offset = 0;
    uint64_t size = 0;
    bool operator==(const Range&) const = default;
  };
  const PipelineImpl* pipeline = nullptr;
  size_t count = 0;
  std::array<Range, kMaxBindings> ranges;  // `count` of them
  [[nodiscard]] std::span<const Range> used() const { return std::span(ranges).first(count); }
  bool operator==(const BindGroupKey& other) const {
    return pipeline == other.pipeline && std::ranges::equal(used(), other.used());
  }
};
struct BindGroupHash {
  size_t operator()(const BindGroupKey& key) const {
    auto hash = reinterpret_cast<uintptr_t>(key.pipeline);
    for (const BindGroupKey::Range& range : key.used()) {
      hash = (hash ^ range.buffer ^ (range.offset << 20)) * 0x9E3779B97F4A7C15ULL;
    }
    return hash ^ (hash >> 32);
  }
};

struct BufferImpl {
  std::shared_ptr<DeviceImpl> device;  // none where this is the device's own part
  wgpu::Buffer handle;
  uint64_t id = 0;
  uint64_t bytes = 0;
  MemoryKind kind{};
  std::string label;
  ~BufferImpl();
};

struct DeviceImpl {
  Instance* instance = nullptr;
  std::unique_ptr<BlobCache> cache;  // outlives the device, which calls it
  wgpu::Device handle;
  wgpu::Queue queue;
  DeviceInfo info;

  std::map<std::string, std::shared_ptr<const PipelineImpl>> pipelines;  // by name and full source
  std::unordered_map<BindGroupKey, wgpu::BindGroup, BindGroupHash> bind_groups;
  std::unordered_multimap<uint64_t, BindGroupKey> bind_groups_of_buffer;
  BufferImpl params;  // what one recorder uploads: pieces for its kernels, and uniform slots of its dispatches
  uint32_t params_slot_bytes = 256;
  std::vector<wgpu::Buffer> free_staging;  // unmapped buffers for reading back
  uint64_t next_buffer_id = 1;
  uint64_t pending_upload_bytes = 0;
  std::array<uint64_t, kMemoryKinds> memory{};
  uint64_t memory_budget = 0;  // 0: none
  uint64_t peak_memory = 0;
  uint64_t host_bytes = 0;
  std::string first_error;  // what Dawn reported outside an error scope
  std::string lost_reason;

  ~DeviceImpl();
  /// Blocks until the future completes, running callbacks.
  Status wait(wgpu::Future future);
  Status check();
  void force_loss(std::string_view reason);
  void forget_bind_groups(uint64_t buffer_id);
  wgpu::BindGroup bind_group(const PipelineImpl& pipeline, std::span<const Binding> bindings);
  Result<wgpu::Buffer> create_raw_buffer(std::string_view label, uint64_t bytes, wgpu::BufferUsage usage);
  [[nodiscard]] uint64_t memory_in_use() const;
};

struct HostBufferImpl {
  std::shared_ptr<DeviceImpl> device;
  wgpu::Buffer handle;
  uint64_t bytes = 0;
  std::span<std::byte> mapped;
  ~HostBufferImpl();
};

struct PipelineImpl {
  std::string name;
  wgpu::ComputePipeline handle;
  wgpu::BindGroupLayout layout;
  std::vector<Access> bindings;
  uint32_t params_bytes = 0;
  bool takes_immediates = false;  // its parameters are in the commands, not in a uniform slot
};

struct ReadImpl {
  std::shared_ptr<DeviceImpl> device;
  wgpu::Buffer staging;
  uint64_t bytes = 0;
  bool submitted = false;
  wgpu::Future mapped;
  std::shared_ptr<std::string> error = std::make_shared<std::string>();  // the callback's too: it may outlive this
  bool done = false;
  /// Starts mapping; called once the copy has been submitted.
  void start();
};

inline constexpr uint32_t kParamSlots = 8192;        // dispatches in one submission, at most
inline constexpr uint32_t kUploadBytes = 32U << 10;  // of Recorder::upload
inline constexpr uint32_t kSmallUpload = 16U << 10;  // of Device::upload, at most, where it takes Recorder::upload
inline constexpr uint32_t kUploadAlignment = 256;    // no device asks for more
inline constexpr uint32_t kImmediateBytes = 64;      // of parameters, for immediates: what WebGPU promises
uint32_t params_slot_bytes(const Limits& limits);

/// Kernels and the timestamps at their begins and ends.
struct TimedKernels {
  std::vector<std::string> kernels;
  std::shared_ptr<ReadImpl> stamps;
};

struct RecorderImpl {
  std::shared_ptr<DeviceImpl> device;
  const PipelineImpl* last_kernel = nullptr;  // the device keeps it
  Timing timing = Timing::kNone;
  wgpu::CommandEncoder encoder;
  wgpu::ComputePassEncoder pass;
  std::vector<std::byte> params;  // kUploadBytes, whose end is used first, then the slots
  uint32_t uploads_begin = kUploadBytes;
  uint32_t dispatches = 0;  // of this submission
  std::vector<std::shared_ptr<ReadImpl>> reads;
  std::vector<std::string> kernel_names;
  wgpu::QuerySet queries;
  wgpu::Buffer query_results;
  std::vector<TimedKernels> timed;  // of what was submitted

  void end_pass();
  void begin_pass(const std::string& kernel);
  void flush();
};

inline constexpr uint32_t kMaxTimedKernels = 2000;  // a query set holds 4,096 timestamps
inline constexpr uint64_t kMaxStagingKept = 8;

/// Runs `create` inside validation and out-of-memory error scopes and returns what they caught. A device
/// that is lost makes objects as if nothing was wrong: that is an error too.
template <typename Create>
Status scoped(DeviceImpl& device, std::string_view what, Create&& create) {
  struct Caught {
    std::string message;
    bool out_of_memory = false;
  } caught;
  device.handle.PushErrorScope(wgpu::ErrorFilter::Internal);
  device.handle.PushErrorScope(wgpu::ErrorFilter::OutOfMemory);
  device.handle.PushErrorScope(wgpu::ErrorFilter::Validation);
  create();
  for (int scope = 0; scope < 3; ++scope) {
    const auto future = device.handle.PopErrorScope(
        wgpu::CallbackMode::WaitAnyOnly,
        [](wgpu::PopErrorScopeStatus, wgpu::ErrorType type, wgpu::StringView message, Caught* into) {
          if (type == wgpu::ErrorType::NoError || !into->message.empty()) return;
          into->message = std::string(std::string_view(message));
          into->out_of_memory = type == wgpu::ErrorType::OutOfMemory;
        },
        &caught);
    CRIA_TRY(device.wait(future));
  }
  if (!device.lost_reason.empty()) return device.check();
  if (caught.message.empty()) return {};
  return fail(caught.out_of_memory ? ErrorCode::kOutOfMemory : ErrorCode::kDevice, "{}: {}", what, caught.message);
}

}  // namespace cria::gpu::detail
