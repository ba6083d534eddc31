// Recording dispatches into one command encoder, submitting them, and reading results back.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "gpu/faults.h"
#include "gpu/impl.h"

namespace cria::gpu {
namespace detail {

void RecorderImpl::end_pass() {
  if (!pass) return;
  pass.End();
  pass = nullptr;
}

void RecorderImpl::begin_pass(const std::string& kernel) {
  if (timing == Timing::kKernels) end_pass();  // timestamps stand at pass boundaries
  if (pass) return;
  wgpu::ComputePassDescriptor descriptor;
  wgpu::PassTimestampWrites writes;
  if (timing != Timing::kNone) {
    const auto index = static_cast<uint32_t>(kernel_names.size());
    writes.querySet = queries;
    writes.beginningOfPassWriteIndex = 2 * index;
    writes.endOfPassWriteIndex = 2 * index + 1;
    descriptor.timestampWrites = &writes;
    kernel_names.push_back(timing == Timing::kKernels ? kernel : std::string());
  }
  pass = encoder.BeginComputePass(&descriptor);
}

void RecorderImpl::flush() {
  end_pass();
  if (!kernel_names.empty()) {
    const auto count = static_cast<uint32_t>(2 * kernel_names.size());
    encoder.ResolveQuerySet(queries, 0, count, query_results, 0);
    auto read = std::make_shared<ReadImpl>();
    read->device = device;
    read->bytes = uint64_t{count} * 8;
    auto staging =
        device->create_raw_buffer("timestamps", read->bytes, wgpu::BufferUsage::MapRead | wgpu::BufferUsage::CopyDst);
    if (staging) {
      read->staging = *staging;
      encoder.CopyBufferToBuffer(query_results, 0, read->staging, 0, read->bytes);
      reads.push_back(read);
      timed.push_back({std::move(kernel_names), std::move(read)});
    }
    kernel_names.clear();
  }
  if (params.size() > uploads_begin) {  // pieces again, where there was a submission before: they count as long
    device->queue.WriteBuffer(device->params.handle, uploads_begin, params.data() + uploads_begin,
                              params.size() - uploads_begin);
  }
  if (faults::loses_device_now()) device->force_loss("the test pulled the plug");
  const wgpu::CommandBuffer commands = encoder.Finish();
  device->queue.Submit(1, &commands);
  for (const auto& read : reads) read->start();
  reads.clear();
  params.resize(kUploadBytes);
  dispatches = 0;
  encoder = nullptr;
}

void ReadImpl::start() {
  submitted = true;
  mapped = staging.MapAsync(wgpu::MapMode::Read, 0, bytes, wgpu::CallbackMode::WaitAnyOnly,
                            [into = error](wgpu::MapAsyncStatus status, wgpu::StringView message) {
                              if (status != wgpu::MapAsyncStatus::Success) *into = std::string_view(message);
                            });
}

}  // namespace detail

Recorder::Recorder(std::unique_ptr<detail::RecorderImpl> impl) : impl_(std::move(impl)) {}
Recorder::Recorder(Recorder&&) noexcept = default;
Recorder& Recorder::operator=(Recorder&&) noexcept = default;
Recorder::~Recorder() = default;

Recorder Device::record(std::string_view label, Timing timing) {
  auto impl = std::make_unique<detail::RecorderImpl>();
  impl->device = impl_;
  if (impl_->info.features.timestamps) impl->timing = timing;
  impl->params.reserve(size_t{2} * detail::kUploadBytes);
  impl->params.resize(detail::kUploadBytes);
  wgpu::CommandEncoderDescriptor encoder;
  encoder.label = label;
  impl->encoder = impl_->handle.CreateCommandEncoder(&encoder);
  if (impl->timing != Timing::kNone) {
    wgpu::QuerySetDescriptor descriptor;
    descriptor.type = wgpu::QueryType::Timestamp;
    descriptor.count = 2 * detail::kMaxTimedKernels;
    impl->queries = impl_->handle.CreateQuerySet(&descriptor);
    auto results = impl_->create_raw_buffer("timestamp results", uint64_t{descriptor.count} * 8,
                                            wgpu::BufferUsage::QueryResolve | wgpu::BufferUsage::CopySrc);
    if (results) {
      impl->query_results = *results;
    } else {
      impl->timing = Timing::kNone;
    }
  }
  return Recorder(std::move(impl));
}

void Recorder::dispatch(const Pipeline& pipeline, std::span<const std::byte> params, std::span<const Binding> bindings,
                        std::array<uint32_t, 3> workgroups) {
  const detail::PipelineImpl& kernel = pipeline.impl();
  CRIA_CHECK(params.size() == kernel.params_bytes && bindings.size() == kernel.bindings.size());
  if (workgroups[0] == 0 || workgroups[1] == 0 || workgroups[2] == 0) return;
  detail::RecorderImpl& self = *impl_;
  // Where the uniform buffer or the query set is full, hand over what there is.
  if (self.dispatches == detail::kParamSlots || self.kernel_names.size() == detail::kMaxTimedKernels) {
    split();
  }
  self.last_kernel = &kernel;
  self.begin_pass(kernel.name);
  self.pass.SetPipeline(kernel.handle);
  const wgpu::BindGroup group = self.device->bind_group(kernel, bindings);
  if (kernel.takes_immediates) {
    self.pass.SetBindGroup(0, group);
    self.pass.SetImmediates(0, params.data(), params.size());
  } else {
    const uint32_t offset = detail::kUploadBytes + self.dispatches * self.device->params_slot_bytes;
    self.params.resize(offset + self.device->params_slot_bytes);
    std::memcpy(self.params.data() + offset, params.data(), params.size());
    self.pass.SetBindGroup(0, group, 1, &offset);
  }
  ++self.dispatches;
  self.pass.DispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
}

std::optional<Range> Recorder::upload(std::span<const std::byte> bytes) {
  detail::RecorderImpl& self = *impl_;
  const uint64_t padded = round_up<uint64_t>(std::max<uint64_t>(bytes.size(), 1), detail::kUploadAlignment);
  if (padded > self.uploads_begin) return std::nullopt;
  self.uploads_begin -= static_cast<uint32_t>(padded);
  std::ranges::copy(bytes, self.params.begin() + self.uploads_begin);
  const std::shared_ptr<detail::BufferImpl> params(self.device, &self.device->params);
  return Range(Buffer(params), self.uploads_begin, padded);
}

void Recorder::copy(const Buffer& source, uint64_t source_offset, const Buffer& target, uint64_t target_offset,
                    uint64_t bytes) {
  impl_->end_pass();
  impl_->encoder.CopyBufferToBuffer(source.impl().handle, source_offset, target.impl().handle, target_offset, bytes);
}

void Recorder::copy(const HostBuffer& source, uint64_t source_offset, const Buffer& target, uint64_t target_offset,
                    uint64_t bytes) {
  CRIA_CHECK(source.writable().empty());
  impl_->end_pass();
  impl_->encoder.CopyBufferToBuffer(source.impl().handle, source_offset, target.impl().handle, target_offset, bytes);
}

void Recorder::split() {
  impl_->flush();
  impl_->encoder = impl_->device->handle.CreateCommandEncoder();
}

Result<PendingRead> Recorder::read(const Buffer& buffer, uint64_t offset, uint64_t bytes) {
  CRIA_CHECK(offset % 4 == 0 && bytes % 4 == 0 && offset + bytes <= buffer.size_bytes());
  detail::DeviceImpl& device = *impl_->device;
  auto read = std::make_shared<detail::ReadImpl>();
  read->device = impl_->device;
  read->bytes = bytes;
  const auto reusable = std::find_if(device.free_staging.begin(), device.free_staging.end(),
                                     [&](const wgpu::Buffer& staging) { return staging.GetSize() >= bytes; });
  if (reusable != device.free_staging.end()) {
    read->staging = *reusable;
    device.free_staging.erase(reusable);
  } else {
    CRIA_TRY_ASSIGN(read->staging, device.create_raw_buffer("read-back staging", std::max<uint64_t>(bytes, 256),
                                                            wgpu::BufferUsage::MapRead | wgpu::BufferUsage::CopyDst));
  }
  impl_->end_pass();
  impl_->encoder.CopyBufferToBuffer(buffer.impl().handle, offset, read->staging, 0, bytes);
  impl_->reads.push_back(read);
  return PendingRead(std::move(read));
}

std::string_view Recorder::last_kernel() const {
  return impl_->last_kernel == nullptr ? std::string_view() : impl_->last_kernel->name;
}

Status Recorder::submit() {
  impl_->flush();
  return impl_->device->check();
}

Result<SubmissionTimes> Recorder::times() {
  SubmissionTimes times;
  for (const detail::TimedKernels& timed : impl_->timed) {
    CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, PendingRead(timed.stamps).wait());
    std::vector<uint64_t> stamps(bytes.size() / 8);
    std::memcpy(stamps.data(), bytes.data(), bytes.size());
    uint64_t previous_end = stamps[0];
    for (size_t i = 0; i < timed.kernels.size(); ++i) {
      const uint64_t end = std::max(previous_end, stamps[2 * i + 1]);
      if (!timed.kernels[i].empty()) times.kernels.push_back({timed.kernels[i], end - previous_end});
      previous_end = end;
    }
    times.total_nanoseconds += previous_end - stamps[0];
  }
  impl_->timed.clear();
  return times;
}

Result<std::vector<std::byte>> PendingRead::wait() {
  CRIA_CHECK(impl_ != nullptr && impl_->submitted && !impl_->done);
  detail::DeviceImpl& device = *impl_->device;
  impl_->done = true;
  CRIA_TRY(device.wait(impl_->mapped));
  CRIA_TRY(device.check());
  if (!impl_->error->empty()) {
    return fail(ErrorCode::kDevice, "{}: results could not be read back: {}", device.info.name, *impl_->error);
  }
  const auto* data = static_cast<const std::byte*>(impl_->staging.GetConstMappedRange(0, impl_->bytes));
  if (data == nullptr) return fail(ErrorCode::kDevice, "{}: results could not be mapped", device.info.name);
  std::vector<std::byte> bytes(data, data + impl_->bytes);
  impl_->staging.Unmap();
  if (device.free_staging.size() < detail::kMaxStagingKept) device.free_staging.push_back(impl_->staging);
  return bytes;
}

}  // namespace cria::gpu
