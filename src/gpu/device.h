// The GPU, as the rest of Cria sees it: a device with buffers, pipelines and recorded work.
//
// This folder is the only one that includes WebGPU; its headers do not, so that everything above it
// compiles without Dawn's headers. One thread owns a Device and all that was made from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace cria::gpu {

/// Optional features of WebGPU that kernels use where present. Each can be masked (`--disable`).
struct FeatureSet {
  bool f16 = false;              ///< 16-bit floats in shaders (shader-f16)
  bool subgroups = false;        ///< subgroup reductions, with the subgroup_id builtin
  bool subgroup_matrix = false;  ///< matrix units (chromium-experimental-subgroup-matrix)
  bool timestamps = false;       ///< GPU clocks around each kernel (timestamp-query)
  bool immediates = false;       ///< kernels' parameters in the commands (immediate_address_space), not in a buffer
};

/// Each feature by its name (`--disable`, `cria devices`).
struct FeatureName {
  std::string_view name;
  bool FeatureSet::* member;
};
inline constexpr FeatureName kFeatureNames[] = {{"f16", &FeatureSet::f16},
                                                {"subgroups", &FeatureSet::subgroups},
                                                {"subgroup-matrix", &FeatureSet::subgroup_matrix},
                                                {"timestamps", &FeatureSet::timestamps},
                                                {"immediates", &FeatureSet::immediates}};
inline constexpr FeatureSet kAllFeatures = [] {
  FeatureSet all;
  for (const FeatureName& feature : kFeatureNames) all.*(feature.member) = true;
  return all;
}();

/// Reads a comma-separated list of names. Errors (kInvalidInput): any other name.
Result<FeatureSet> parse_features(std::string_view list);
/// The names of the features that are set, with `separator` between them; "none" where there are none.
[[nodiscard]] std::string feature_names(const FeatureSet& features, std::string_view separator = ", ");

/// The limits that decide how work is cut, in bytes or counts, as requested from the device.
struct Limits {
  uint64_t max_buffer_bytes = 0;
  uint64_t max_binding_bytes = 0;    ///< one storage binding; lowered by DeviceOptions::binding_limit
  uint32_t max_storage_buffers = 0;  ///< per shader stage
  uint32_t max_workgroup_memory_bytes = 0;
  uint32_t max_workgroup_invocations = 0;
  uint32_t max_workgroups_per_dimension = 0;
  uint32_t uniform_alignment = 256;
  uint64_t max_upload_bytes = 16ULL << 20;  ///< that wait in staging memory; less where there is a memory budget
};

/// A shape of matrices that the matrix units multiply: sums [m, n] of f32 += [m, k] * [k, n] of f16.
struct MatrixShape {
  uint32_t m = 0, n = 0, k = 0;
  bool operator==(const MatrixShape&) const = default;
};

struct DeviceInfo {
  uint32_t index = 0;   ///< position in list_devices()
  std::string name;     ///< "NVIDIA H100 80GB HBM3"
  std::string vendor;   ///< "nvidia"
  std::string driver;   ///< the driver's own description
  std::string backend;  ///< "Vulkan", "Metal", "D3D12"
  std::string type;     ///< "discrete GPU", "integrated GPU", "CPU"
  FeatureSet features;
  Limits limits;
  uint64_t memory_bytes = 0;        ///< all that it can reach, shared or its own; 0 where it does not tell
  uint64_t local_memory_bytes = 0;  ///< of that, what is nearest to it
  uint32_t subgroup_min_size = 0;   ///< 0 where there are no subgroups
  uint32_t subgroup_max_size = 0;
  std::vector<MatrixShape> matrix_shapes;  ///< empty where there are no matrix units

  [[nodiscard]] bool is_software() const { return type == "CPU"; }
};

/// All devices of this machine, the best first (discrete, integrated, then software).
/// Errors (kNotFound): no driver gave an adapter; the sentence says what to install.
Result<std::vector<DeviceInfo>> list_devices();

struct DeviceOptions {
  std::string selector;                ///< index in list_devices(), part of a name, or empty for the best
  FeatureSet disabled;                 ///< features to pretend absent
  uint64_t binding_limit = 0;          ///< lowers Limits::max_binding_bytes; 0 leaves the device's own
  std::filesystem::path cache_folder;  ///< where compiled pipelines are kept; empty: nowhere
  uint32_t grid_limit = 0;  ///< lowers Limits::max_workgroups_per_dimension, for tests; 0 leaves the device's own
  uint32_t subgroup_min_limit = 0;  ///< lowers DeviceInfo::subgroup_min_size, for tests; 0 leaves the device's own
  /// Bytes that all buffers may take together, uploads included; 0: no limit of our own; kAutoBudget: nine tenths of
  /// DeviceInfo::local_memory_bytes.
  uint64_t memory_budget = 0;
  /// Whether every call is checked. That takes a quarter of the CPU's time for recording, and Cria's own calls are
  /// right: tests and the self-test check them. A wrong shader is an error only where it is checked.
  bool validates = true;
};
inline constexpr uint64_t kAutoBudget = UINT64_MAX;
/// Less than this holds no model.
inline constexpr uint64_t kMinBudget = 4ULL << 20;

/// What a buffer is for, so that memory can be reported by kind.
enum class MemoryKind : uint8_t { kWeights, kKv, kScratch, kStaging };
inline constexpr size_t kMemoryKinds = 4;

namespace detail {
struct DeviceImpl;
struct BufferImpl;
struct HostBufferImpl;
struct PipelineImpl;
struct ReadImpl;
struct RecorderImpl;
}  // namespace detail

/// A GPU buffer; copies share it, and it is freed with the last copy.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::shared_ptr<detail::BufferImpl> impl) : impl_(std::move(impl)) {}
  [[nodiscard]] bool valid() const { return impl_ != nullptr; }
  [[nodiscard]] uint64_t size_bytes() const;
  [[nodiscard]] const detail::BufferImpl& impl() const { return *impl_; }

 private:
  std::shared_ptr<detail::BufferImpl> impl_;
};

/// Memory of the host that the GPU copies from by itself. The CPU writes it, seals it, and has it copied as often as it
/// likes; copies of the handle share it.
class HostBuffer {
 public:
  HostBuffer() = default;
  explicit HostBuffer(std::shared_ptr<detail::HostBufferImpl> impl) : impl_(std::move(impl)) {}
  [[nodiscard]] bool valid() const { return impl_ != nullptr; }
  [[nodiscard]] uint64_t size_bytes() const;
  /// What the CPU writes to, until seal(); empty from then on.
  [[nodiscard]] std::span<std::byte> writable() const;
  /// Ends writing: from now on the buffer may be copied from.
  void seal();
  /// Lets the CPU write again, once all copies that have been submitted are done: blocks until then. Errors: kDevice.
  Status reopen();
  [[nodiscard]] const detail::HostBufferImpl& impl() const { return *impl_; }

 private:
  std::shared_ptr<detail::HostBufferImpl> impl_;
};

/// A range of a buffer, which it shares. `size_bytes` 0 means up to the buffer's end.
struct Range {
  Range() = default;
  Range(Buffer whole) : buffer(std::move(whole)) {}  // NOLINT(google-explicit-constructor): the common case
  Range(Buffer of, uint64_t offset, uint64_t size) : buffer(std::move(of)), offset_bytes(offset), size_bytes(size) {}
  Buffer buffer;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
};

/// A range of a buffer, as bound to a shader. `size_bytes` 0 means up to the buffer's end.
struct Binding {
  Binding(const Buffer& bound) : buffer(bound) {}  // NOLINT(google-explicit-constructor): the common case
  Binding(const Range& range)                      // NOLINT(google-explicit-constructor): another
      : buffer(range.buffer), offset_bytes(range.offset_bytes), size_bytes(range.size_bytes) {}
  Binding(const Buffer& bound, uint64_t offset, uint64_t size)
      : buffer(bound), offset_bytes(offset), size_bytes(size) {}
  const Buffer& buffer;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
};

/// How a pipeline uses a binding; kNone: not at all, and what a dispatch passes for it is not bound. Each one that is
/// bound costs time whenever it is dispatched.
enum class Access : uint8_t { kNone, kRead, kReadWrite };

/// A named value put in front of a shader as `const NAME: TYPE = VALUE;`.
struct Constant {
  Constant(std::string_view constant_name, uint32_t value);
  Constant(std::string_view constant_name, float value);
  Constant(std::string_view constant_name, bool value);
  std::string name;
  std::string declaration;
};

/// Everything that decides a compute pipeline. With `params_bytes` the shader or one of its modules declares `struct
/// Params`, of so many bytes, and the variable `params` is put in front of it: immediates where the device has them,
/// else a uniform at binding 0 of group 0. The storage bindings 1, 2, … have the access given in `bindings`.
struct PipelineSpec {
  std::string name;                       ///< the shader's name and variant: label in traces and errors
  std::vector<std::string> enables;       ///< WGSL `enable` extensions
  std::vector<std::string> requirements;  ///< WGSL `requires` language features
  std::vector<Constant> constants;
  std::vector<std::string_view> modules;  ///< shared WGSL put between the prelude and the shader
  std::string_view source;                ///< the shader file's text
  std::vector<Access> bindings;
  uint32_t params_bytes = 0;
};

class Pipeline {
 public:
  Pipeline() = default;
  explicit Pipeline(std::shared_ptr<const detail::PipelineImpl> impl) : impl_(std::move(impl)) {}
  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const detail::PipelineImpl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const detail::PipelineImpl> impl_;
};

/// Bytes on their way from the GPU to the CPU.
class PendingRead {
 public:
  PendingRead() = default;
  explicit PendingRead(std::shared_ptr<detail::ReadImpl> impl) : impl_(std::move(impl)) {}
  [[nodiscard]] bool valid() const { return impl_ != nullptr; }
  /// Blocks until the submission that holds the read has run. Errors: kDevice.
  Result<std::vector<std::byte>> wait();
  /// The same as values of a type.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  Result<std::vector<T>> values() {
    CRIA_TRY_ASSIGN(const std::vector<std::byte> bytes, wait());
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::shared_ptr<detail::ReadImpl> impl_;
};

/// GPU time of one kernel in one submission.
struct KernelTime {
  std::string kernel;
  uint64_t nanoseconds = 0;
};

/// What a recorder measures, where the device has timestamps. kKernels keeps kernels from overlapping and adds
/// microseconds to each; kWhole disturbs nothing.
enum class Timing : uint8_t { kNone, kWhole, kKernels };

/// GPU times of a submission. A kernel's time runs from the end of the one before it to its own end,
/// so the parts add up to the whole.
struct SubmissionTimes {
  std::vector<KernelTime> kernels;  ///< with Timing::kKernels
  uint64_t total_nanoseconds = 0;   ///< from the first kernel's begin to the last one's end
};

/// Records dispatches and copies into one command encoder and submits them together.
class Recorder {
 public:
  explicit Recorder(std::unique_ptr<detail::RecorderImpl> impl);
  Recorder(Recorder&&) noexcept;
  Recorder& operator=(Recorder&&) noexcept;
  ~Recorder();

  /// Runs `pipeline` on x * y * z workgroups. `params` is copied: its struct of parameters.
  void dispatch(const Pipeline& pipeline, std::span<const std::byte> params, std::span<const Binding> bindings,
                std::array<uint32_t, 3> workgroups);
  /// Takes bytes along with the parameters of kernels, in the same upload, for this recorder's kernels to read from a
  /// storage binding. None where there is no room: 32 KiB a recorder.
  std::optional<Range> upload(std::span<const std::byte> bytes);
  void copy(const Buffer& source, uint64_t source_offset, const Buffer& target, uint64_t target_offset, uint64_t bytes);
  /// The same from memory of the host, which must be sealed.
  void copy(const HostBuffer& source, uint64_t source_offset, const Buffer& target, uint64_t target_offset,
            uint64_t bytes);
  /// Hands over what has been recorded so far, so that no submission takes long; recording goes on.
  void split();
  /// Copies a range to the CPU when the work before it is done.
  Result<PendingRead> read(const Buffer& buffer, uint64_t offset, uint64_t bytes);
  /// The name of the pipeline that was dispatched last; empty before the first.
  [[nodiscard]] std::string_view last_kernel() const;
  /// Hands everything recorded to the GPU. Errors: kDevice with the driver's diagnostic.
  Status submit();
  /// Waits for this submission and returns its times; empty unless the device is profiling.
  Result<SubmissionTimes> times();

 private:
  std::unique_ptr<detail::RecorderImpl> impl_;
};

class Device {
 public:
  /// Opens a device. Errors: kNotFound where nothing matches the selector (the sentence lists what
  /// there is), kInvalidInput for a binding limit or a budget out of range, kDevice.
  static Result<Device> open(const DeviceOptions& options);

  [[nodiscard]] const DeviceInfo& info() const;
  [[nodiscard]] const FeatureSet& features() const { return info().features; }
  [[nodiscard]] const Limits& limits() const { return info().limits; }

  /// A storage buffer, zeroed; the size is rounded up to a multiple of 4.
  /// Errors: kOutOfMemory, naming the label, the bytes and the limit or the budget.
  Result<Buffer> create_buffer(std::string_view label, uint64_t bytes, MemoryKind kind);

  /// Memory of the host for the GPU to copy from; the size is rounded up to a multiple of 4.
  /// Errors: kOutOfMemory, naming the label and the bytes.
  Result<HostBuffer> create_host_buffer(std::string_view label, uint64_t bytes);

  /// Builds a pipeline, or returns the one built before from an equal spec.
  /// Errors: kDevice with the shader's name and the compiler's message.
  Result<Pipeline> create_pipeline(const PipelineSpec& spec);

  /// Copies bytes to a buffer (offset and size multiples of 4), in order with submissions. Blocks now
  /// and then so that at most Limits::max_upload_bytes wait in staging memory.
  Status write(const Buffer& buffer, uint64_t offset, std::span<const std::byte> bytes);

  /// Brings bytes to where kernels of a recorder can read them: along with their parameters (Recorder::upload) where
  /// they are few, else by a write to `home`, which has room for them. Returns where they are.
  Result<Range> upload(Recorder& recorder, const Buffer& home, std::span<const std::byte> bytes);

  /// `profile` asks for GPU times of each kernel; ignored without the timestamps feature.
  Recorder record(std::string_view label, Timing timing = Timing::kNone);

  /// Reads a range back at once; for tests and tools, not for the token loop.
  Result<std::vector<std::byte>> read(const Buffer& buffer, uint64_t offset, uint64_t bytes);

  /// Waits until everything submitted has run.
  Status wait_idle();
  /// The first error that the device reported since the last check, if any. Errors: kDevice.
  Status check();
  /// Bytes of live buffers of a kind.
  [[nodiscard]] uint64_t memory_bytes(MemoryKind kind) const;
  /// The most that buffers of all kinds took together so far, uploads included.
  [[nodiscard]] uint64_t peak_memory_bytes() const;
  /// Bytes of live memory of the host (create_host_buffer).
  [[nodiscard]] uint64_t host_bytes() const;
  /// DeviceOptions::memory_budget in bytes; 0 where there is none.
  [[nodiscard]] uint64_t memory_budget() const;
  /// Bytes of what one submission uploads with its kernels' parameters, which every device has.
  [[nodiscard]] static uint64_t parameter_bytes(const Limits& limits);
  /// Pretends that the driver lost the device; for tests.
  void force_loss(std::string_view reason);

 private:
  explicit Device(std::shared_ptr<detail::DeviceImpl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<detail::DeviceImpl> impl_;
};

/// The bytes of a struct of parameters, for Recorder::dispatch.
template <typename T>
std::span<const std::byte> as_params(const T& params) {
  static_assert(sizeof(T) % 16 == 0, "structs of parameters are padded to 16 bytes");
  return std::as_bytes(std::span<const T, 1>(&params, 1));
}

}  // namespace cria::gpu
