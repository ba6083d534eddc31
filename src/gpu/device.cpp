// Opening a device, its buffers, uploads, and the errors that it reports.
#include "gpu/device.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "base/log.h"
#include "gpu/faults.h"
#include "gpu/impl.h"

namespace cria::gpu {
namespace detail {

DeviceImpl::~DeviceImpl() {
  bind_groups.clear();
  if (handle) handle.Destroy();
}

Status DeviceImpl::wait(wgpu::Future future) {
  const auto status = instance->handle.WaitAny(future, std::numeric_limits<uint64_t>::max());
  if (status != wgpu::WaitStatus::Success) return fail(ErrorCode::kDevice, "{}: waiting for the GPU failed", info.name);
  return {};
}

Status DeviceImpl::check() {
  if (!lost_reason.empty()) return fail(ErrorCode::kDevice, "{}: the device was lost: {}", info.name, lost_reason);
  if (!first_error.empty()) {
    const std::string message = std::exchange(first_error, {});
    return fail(ErrorCode::kDevice, "{}: {}", info.name, message);
  }
  return {};
}

void DeviceImpl::force_loss(std::string_view reason) {
  handle.ForceLoss(wgpu::DeviceLostReason::Unknown, reason);
  instance->handle.ProcessEvents();
}

void DeviceImpl::forget_bind_groups(uint64_t buffer_id) {
  const auto [begin, end] = bind_groups_of_buffer.equal_range(buffer_id);
  for (auto it = begin; it != end; ++it) bind_groups.erase(it->second);
  bind_groups_of_buffer.erase(begin, end);
}

wgpu::BindGroup DeviceImpl::bind_group(const PipelineImpl& pipeline, std::span<const Binding> bindings) {
  CRIA_CHECK(bindings.size() <= BindGroupKey::kMaxBindings);
  BindGroupKey key;
  key.pipeline = &pipeline;
  for (size_t i = 0; i < bindings.size(); ++i) {
    if (pipeline.bindings[i] == Access::kNone) continue;
    const Binding& binding = bindings[i];
    const BufferImpl& buffer = binding.buffer.impl();
    const uint64_t size = binding.size_bytes != 0 ? binding.size_bytes : buffer.bytes - binding.offset_bytes;
    key.ranges[key.count++] = {buffer.id, binding.offset_bytes, size};
  }
  if (const auto known = bind_groups.find(key); known != bind_groups.end()) return known->second;

  for (const auto& range : key.used()) {  // the driver would take more where the limit was lowered
    if (range.size <= info.limits.max_binding_bytes || !first_error.empty()) continue;
    first_error = fmt::format("the kernel {} binds {} bytes of a buffer, more than the limit of {}", pipeline.name,
                              with_commas(range.size), with_commas(info.limits.max_binding_bytes));
  }
  std::vector<wgpu::BindGroupEntry> entries;
  if (!pipeline.takes_immediates) {
    wgpu::BindGroupEntry& uniform = entries.emplace_back();
    uniform.binding = 0;
    uniform.buffer = params.handle;
    uniform.size = pipeline.params_bytes;
  }
  size_t used = 0;
  for (size_t i = 0; i < bindings.size(); ++i) {
    if (pipeline.bindings[i] == Access::kNone) continue;
    const BindGroupKey::Range& range = key.ranges[used++];
    wgpu::BindGroupEntry& entry = entries.emplace_back();
    entry.binding = static_cast<uint32_t>(i + 1);
    entry.buffer = bindings[i].buffer.impl().handle;
    entry.offset = range.offset;
    entry.size = range.size;
  }
  wgpu::BindGroupDescriptor descriptor;
  descriptor.label = std::string_view(pipeline.name);
  descriptor.layout = pipeline.layout;
  descriptor.entryCount = entries.size();
  descriptor.entries = entries.data();
  wgpu::BindGroup group = handle.CreateBindGroup(&descriptor);
  for (const auto& range : key.used()) bind_groups_of_buffer.emplace(range.buffer, key);
  bind_groups.emplace(key, group);
  return group;
}

Result<wgpu::Buffer> DeviceImpl::create_raw_buffer(std::string_view label, uint64_t bytes, wgpu::BufferUsage usage) {
  wgpu::BufferDescriptor descriptor;
  descriptor.label = label;
  descriptor.size = bytes;
  descriptor.usage = usage;
  wgpu::Buffer created;
  Status status;
  if (faults::refuses_buffer_now()) {
    status = fail(ErrorCode::kOutOfMemory, "the test refused");
  } else {
    status = scoped(*this, label, [&] { created = handle.CreateBuffer(&descriptor); });
  }
  if (!status && status.error().code() == ErrorCode::kOutOfMemory) {
    return fail(ErrorCode::kOutOfMemory, "{}: {} refused to allocate {} bytes ({} are in use)", label, info.name,
                with_commas(bytes), with_commas(memory_in_use()));
  }
  if (!status) return std::unexpected(std::move(status).error());
  if (!created) return fail(ErrorCode::kDevice, "{}: the device made no buffer of {} bytes", label, with_commas(bytes));
  return created;
}

uint64_t DeviceImpl::memory_in_use() const { return std::accumulate(memory.begin(), memory.end(), uint64_t{0}); }

HostBufferImpl::~HostBufferImpl() {
  device->host_bytes -= bytes;
  if (handle) handle.Destroy();
}

BufferImpl::~BufferImpl() {
  if (!device) return;
  device->forget_bind_groups(id);
  device->memory[static_cast<size_t>(kind)] -= bytes;
  if (handle) handle.Destroy();
}

namespace {

std::string lowercase(std::string_view text) {
  std::string lowered(text);
  std::transform(lowered.begin(), lowered.end(), lowered.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lowered;
}

Result<size_t> choose_device(const Instance& instance, const std::string& selector) {
  if (selector.empty()) return 0;
  const bool is_index = std::all_of(selector.begin(), selector.end(), [](unsigned char c) { return std::isdigit(c); });
  std::string available;
  for (size_t i = 0; i < instance.infos.size(); ++i) {
    const std::string& name = instance.infos[i].name;
    if (is_index ? selector == std::to_string(i) : lowercase(name).find(lowercase(selector)) != std::string::npos) {
      return i;
    }
    available += fmt::format("{}{} ({})", available.empty() ? "" : ", ", i, name);
  }
  return fail(ErrorCode::kNotFound, "no device matches \"{}\": there is {}", selector, available);
}

/// The features to ask for: what the adapter has, less what is masked.
FeatureSet wanted_features(const FeatureSet& available, const FeatureSet& disabled) {
  FeatureSet wanted;
  wanted.f16 = available.f16 && !disabled.f16;
  wanted.subgroups = available.subgroups && !disabled.subgroups;
  wanted.subgroup_matrix = available.subgroup_matrix && wanted.subgroups && !disabled.subgroup_matrix;
  wanted.timestamps = available.timestamps && !disabled.timestamps;
  wanted.immediates = available.immediates && !disabled.immediates;
  return wanted;
}

/// What Dawn calls to load and store compiled pipelines. Its C++ header cannot wrap these callbacks.
WGPUDawnCacheDeviceDescriptor cache_descriptor(BlobCache& cache) {
  const auto load = [](size_t key_bytes, const uint8_t* key, size_t value_bytes, uint8_t* value, void* from, void*) {
    return static_cast<BlobCache*>(from)->load(std::as_bytes(std::span(key, key_bytes)),
                                               std::as_writable_bytes(std::span(value, value_bytes)));
  };
  const auto store = [](size_t key_bytes, const uint8_t* key, size_t value_bytes, const uint8_t* value, void* to,
                        void*) {
    static_cast<BlobCache*>(to)->store(std::as_bytes(std::span(key, key_bytes)),
                                       std::as_bytes(std::span(value, value_bytes)));
  };
  WGPUDawnCacheDeviceDescriptor descriptor = WGPU_DAWN_CACHE_DEVICE_DESCRIPTOR_INIT;
  descriptor.dawnLoadCacheDataCallbackInfo.callback = load;
  descriptor.dawnLoadCacheDataCallbackInfo.userdata1 = &cache;
  descriptor.dawnStoreCacheDataCallbackInfo.callback = store;
  descriptor.dawnStoreCacheDataCallbackInfo.userdata1 = &cache;
  return descriptor;
}

constexpr uint64_t kMinBindingLimit = 16 * 1024;

Status apply_binding_limit(DeviceInfo& info, uint64_t limit) {
  if (limit == 0) return {};
  if (limit < kMinBindingLimit || limit > info.limits.max_binding_bytes) {
    return fail(ErrorCode::kInvalidInput, "the binding limit is {} bytes, outside {} to {} (the limit of {})",
                with_commas(limit), with_commas(kMinBindingLimit), with_commas(info.limits.max_binding_bytes),
                info.name);
  }
  info.limits.max_binding_bytes = limit / 256 * 256;
  return {};
}

Result<uint64_t> budget(const DeviceInfo& info, uint64_t wanted) {
  if (wanted == 0 || (wanted >= kMinBudget && wanted != kAutoBudget)) return wanted;
  if (wanted != kAutoBudget) {
    return fail(ErrorCode::kInvalidInput,
                "a memory budget of {} bytes is less than the {} that the smallest model needs", with_commas(wanted),
                with_commas(kMinBudget));
  }
  if (info.local_memory_bytes == 0) {
    return fail(ErrorCode::kUnsupported, "{} does not tell how much memory it has: name a memory budget in bytes",
                info.name);
  }
  return info.local_memory_bytes / 10 * 9;
}

}  // namespace

uint32_t params_slot_bytes(const Limits& limits) { return std::max<uint32_t>(limits.uniform_alignment, 64); }

}  // namespace detail

Result<Device> Device::open(const DeviceOptions& options) {
  CRIA_TRY_ASSIGN(detail::Instance * instance, detail::shared_instance());
  CRIA_TRY_ASSIGN(const size_t index, detail::choose_device(*instance, options.selector));
  const wgpu::Adapter& adapter = instance->adapters[index];

  auto impl = std::make_shared<detail::DeviceImpl>();
  impl->instance = instance;
  impl->info = instance->infos[index];
  impl->info.features = detail::wanted_features(impl->info.features, options.disabled);
  if (!impl->info.features.subgroup_matrix) impl->info.matrix_shapes.clear();
  if (!impl->info.features.subgroups) impl->info.subgroup_min_size = impl->info.subgroup_max_size = 0;
  uint32_t& min_size = impl->info.subgroup_min_size;
  if (options.subgroup_min_limit != 0) min_size = std::min(min_size, options.subgroup_min_limit);
  CRIA_TRY(detail::apply_binding_limit(impl->info, options.binding_limit));
  CRIA_TRY_ASSIGN(impl->memory_budget, detail::budget(impl->info, options.memory_budget));
  if (impl->memory_budget != 0) {
    uint64_t& upload = impl->info.limits.max_upload_bytes;
    upload = std::min(upload, impl->memory_budget / 16 / 4 * 4);
  }
  uint32_t& grid_limit = impl->info.limits.max_workgroups_per_dimension;
  if (options.grid_limit != 0) grid_limit = std::min(grid_limit, options.grid_limit);

  std::vector<wgpu::FeatureName> features;
  if (impl->info.features.f16) features.push_back(wgpu::FeatureName::ShaderF16);
  if (impl->info.features.subgroups) features.push_back(wgpu::FeatureName::Subgroups);
  if (impl->info.features.subgroup_matrix) features.push_back(wgpu::FeatureName::ChromiumExperimentalSubgroupMatrix);
  if (impl->info.features.timestamps) features.push_back(wgpu::FeatureName::TimestampQuery);
  wgpu::Limits limits;
  adapter.GetLimits(&limits);

  // Cria's kernels stay within their buffers by themselves. Dawn's checks would make the distance of a matrix's rows
  // unknown to compilers, which costs matrix products more than half of their speed.
  std::vector<const char*> enabled = {"allow_unsafe_apis", "disable_robustness"};
  if (!options.validates) enabled.push_back("skip_validation");
  static constexpr const char* kDisabled[] = {"timestamp_quantization"};
  wgpu::DawnTogglesDescriptor toggles;
  toggles.enabledToggleCount = enabled.size();
  toggles.enabledToggles = enabled.data();
  toggles.disabledToggleCount = std::size(kDisabled);
  toggles.disabledToggles = kDisabled;
  WGPUDawnCacheDeviceDescriptor cache{};
  if (!options.cache_folder.empty()) {
    impl->cache = std::make_unique<detail::BlobCache>(options.cache_folder);
    cache = detail::cache_descriptor(*impl->cache);
    toggles.nextInChain = reinterpret_cast<const wgpu::ChainedStruct*>(&cache.chain);
  }
  wgpu::DeviceDescriptor descriptor;
  descriptor.nextInChain = &toggles;
  descriptor.label = "cria";
  descriptor.requiredFeatureCount = features.size();
  descriptor.requiredFeatures = features.data();
  descriptor.requiredLimits = &limits;
  descriptor.SetDeviceLostCallback(
      wgpu::CallbackMode::AllowSpontaneous,
      [](const wgpu::Device&, wgpu::DeviceLostReason reason, wgpu::StringView message, detail::DeviceImpl* self) {
        if (reason == wgpu::DeviceLostReason::Destroyed) return;
        const std::string_view whole = message;
        self->lost_reason = whole.substr(0, whole.find('\n'));  // behind it stands where in Dawn that was
        if (self->lost_reason.empty()) self->lost_reason = "the driver gives no reason";
      },
      impl.get());
  descriptor.SetUncapturedErrorCallback(
      [](const wgpu::Device&, wgpu::ErrorType, wgpu::StringView message, detail::DeviceImpl* self) {
        if (self->first_error.empty()) self->first_error = std::string(std::string_view(message));
      },
      impl.get());
  impl->handle = adapter.CreateDevice(&descriptor);
  if (!impl->handle) {
    return fail(ErrorCode::kDevice, "{}: the device could not be opened: {}", impl->info.name,
                impl->lost_reason.empty() ? "the driver gives no reason" : impl->lost_reason);
  }
  impl->queue = impl->handle.GetQueue();
  const uint64_t parameter_bytes = Device::parameter_bytes(impl->info.limits);
  impl->params_slot_bytes = detail::params_slot_bytes(impl->info.limits);
  impl->params.id = impl->next_buffer_id++;
  impl->params.bytes = parameter_bytes;
  CRIA_TRY_ASSIGN(impl->params.handle, impl->create_raw_buffer("kernel parameters", parameter_bytes,
                                                               wgpu::BufferUsage::Uniform | wgpu::BufferUsage::Storage |
                                                                   wgpu::BufferUsage::CopyDst));
  impl->memory[static_cast<size_t>(MemoryKind::kStaging)] = parameter_bytes;
  return Device(std::move(impl));
}

const DeviceInfo& Device::info() const { return impl_->info; }

Result<Buffer> Device::create_buffer(std::string_view label, uint64_t bytes, MemoryKind kind) {
  const uint64_t padded = round_up<uint64_t>(std::max<uint64_t>(bytes, 4), 4);
  if (padded > impl_->info.limits.max_buffer_bytes) {
    return fail(ErrorCode::kOutOfMemory, "{}: needs a buffer of {} bytes, more than the {} that {} allows", label,
                with_commas(bytes), with_commas(impl_->info.limits.max_buffer_bytes), impl_->info.name);
  }
  const uint64_t budget = impl_->memory_budget;
  const uint64_t needed = impl_->memory_in_use() + padded + impl_->info.limits.max_upload_bytes;
  if (budget != 0 && needed > budget) {
    return fail(ErrorCode::kOutOfMemory,
                "{}: {} bytes more do not fit into the memory budget of {}: {} are in use and {} kept for uploads",
                label, with_commas(padded), with_commas(budget), with_commas(impl_->memory_in_use()),
                with_commas(impl_->info.limits.max_upload_bytes));
  }
  CRIA_TRY_ASSIGN(
      wgpu::Buffer handle,
      impl_->create_raw_buffer(label, round_up<uint64_t>(padded, 16),  // so that a shader may read vec4s
                               wgpu::BufferUsage::Storage | wgpu::BufferUsage::CopySrc | wgpu::BufferUsage::CopyDst));
  auto buffer = std::make_shared<detail::BufferImpl>();
  buffer->device = impl_;
  buffer->handle = std::move(handle);
  buffer->id = impl_->next_buffer_id++;
  buffer->bytes = padded;
  buffer->kind = kind;
  buffer->label = std::string(label);
  impl_->memory[static_cast<size_t>(kind)] += padded;
  impl_->peak_memory = std::max(impl_->peak_memory, needed);
  return Buffer(std::move(buffer));
}

uint64_t Buffer::size_bytes() const { return impl_ ? impl_->bytes : 0; }

Result<HostBuffer> Device::create_host_buffer(std::string_view label, uint64_t bytes) {
  const uint64_t padded = round_up<uint64_t>(std::max<uint64_t>(bytes, 4), 4);
  auto buffer = std::make_shared<detail::HostBufferImpl>();
  buffer->device = impl_;
  wgpu::BufferDescriptor descriptor;
  descriptor.label = label;
  descriptor.size = padded;
  descriptor.usage = wgpu::BufferUsage::MapWrite | wgpu::BufferUsage::CopySrc;
  descriptor.mappedAtCreation = true;
  CRIA_TRY(detail::scoped(*impl_, label, [&] { buffer->handle = impl_->handle.CreateBuffer(&descriptor); }));
  auto* mapped = buffer->handle ? static_cast<std::byte*>(buffer->handle.GetMappedRange(0, padded)) : nullptr;
  if (mapped == nullptr) {
    return fail(ErrorCode::kOutOfMemory, "{}: the host has no {} bytes of memory that {} can copy from", label,
                with_commas(padded), impl_->info.name);
  }
  buffer->mapped = {mapped, padded};
  buffer->bytes = padded;
  impl_->host_bytes += padded;
  return HostBuffer(std::move(buffer));
}

uint64_t HostBuffer::size_bytes() const { return impl_ ? impl_->bytes : 0; }

std::span<std::byte> HostBuffer::writable() const { return impl_ ? impl_->mapped : std::span<std::byte>(); }

void HostBuffer::seal() {
  impl_->handle.Unmap();
  impl_->mapped = {};
}

Status HostBuffer::reopen() {
  if (!impl_->mapped.empty()) return {};
  std::string error;
  CRIA_TRY(impl_->device->wait(impl_->handle.MapAsync(
      wgpu::MapMode::Write, 0, impl_->bytes, wgpu::CallbackMode::WaitAnyOnly,
      [](wgpu::MapAsyncStatus status, wgpu::StringView message, std::string* into) {
        if (status != wgpu::MapAsyncStatus::Success) *into = std::string_view(message);
      },
      &error)));
  auto* mapped = error.empty() ? static_cast<std::byte*>(impl_->handle.GetMappedRange(0, impl_->bytes)) : nullptr;
  if (mapped == nullptr) {
    CRIA_TRY(impl_->device->check());
    return fail(ErrorCode::kDevice, "memory of the host could not be written again: {}", error);
  }
  impl_->mapped = {mapped, impl_->bytes};
  return {};
}

Status Device::write(const Buffer& buffer, uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  CRIA_CHECK(offset % 4 == 0 && bytes.size() % 4 == 0 && offset + bytes.size() <= buffer.size_bytes());
  const uint64_t most = impl_->info.limits.max_upload_bytes;
  while (!bytes.empty()) {
    const std::span<const std::byte> piece = bytes.first(std::min<uint64_t>(bytes.size(), most));
    if (impl_->pending_upload_bytes + piece.size() > most) {
      impl_->queue.Submit(0, nullptr);
      CRIA_TRY(wait_idle());
    }
    impl_->queue.WriteBuffer(buffer.impl().handle, offset, piece.data(), piece.size());
    impl_->pending_upload_bytes += piece.size();
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Result<Range> Device::upload(Recorder& recorder, const Buffer& home, std::span<const std::byte> bytes) {
  if (bytes.size() <= detail::kSmallUpload) {
    if (auto range = recorder.upload(bytes)) return *std::move(range);
  }
  CRIA_TRY(write(home, 0, bytes));
  return Range(home);
}

Result<std::vector<std::byte>> Device::read(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  Recorder recorder = record("read");
  CRIA_TRY_ASSIGN(PendingRead pending, recorder.read(buffer, offset, bytes));
  CRIA_TRY(recorder.submit());
  return pending.wait();
}

Status Device::wait_idle() {
  bool failed = false;
  const auto future = impl_->queue.OnSubmittedWorkDone(
      wgpu::CallbackMode::WaitAnyOnly,
      [](wgpu::QueueWorkDoneStatus status, wgpu::StringView, bool* into) {
        *into = status != wgpu::QueueWorkDoneStatus::Success;
      },
      &failed);
  CRIA_TRY(impl_->wait(future));
  impl_->pending_upload_bytes = 0;
  CRIA_TRY(impl_->check());
  if (failed) return fail(ErrorCode::kDevice, "{}: the device did not finish its work", impl_->info.name);
  return {};
}

Status Device::check() { return impl_->check(); }

uint64_t Device::memory_bytes(MemoryKind kind) const { return impl_->memory[static_cast<size_t>(kind)]; }

uint64_t Device::peak_memory_bytes() const { return impl_->peak_memory; }
uint64_t Device::host_bytes() const { return impl_->host_bytes; }
uint64_t Device::memory_budget() const { return impl_->memory_budget; }
uint64_t Device::parameter_bytes(const Limits& limits) {
  return detail::kUploadBytes + uint64_t{detail::kParamSlots} * detail::params_slot_bytes(limits);
}

void Device::force_loss(std::string_view reason) { impl_->force_loss(reason); }

}  // namespace cria::gpu
