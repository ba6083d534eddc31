// Finding GPUs: the WebGPU instance, its adapters, and what each of them can do.
#include <dawn/native/DawnNative.h>

#include <algorithm>
#include <set>
#include <span>

#include "base/log.h"
#include "gpu/drivers.h"
#include "gpu/impl.h"

namespace cria::gpu {
namespace detail {
namespace {

std::string to_string(wgpu::StringView view) { return std::string(std::string_view(view)); }

std::string backend_name(wgpu::BackendType type) {
  switch (type) {
    case wgpu::BackendType::Vulkan: return "Vulkan";
    case wgpu::BackendType::Metal: return "Metal";
    case wgpu::BackendType::D3D12: return "D3D12";
    case wgpu::BackendType::D3D11: return "D3D11";
    case wgpu::BackendType::OpenGL: return "OpenGL";
    case wgpu::BackendType::OpenGLES: return "OpenGL ES";
    default: return "other";
  }
}

std::string type_name(wgpu::AdapterType type) {
  switch (type) {
    case wgpu::AdapterType::DiscreteGPU: return "discrete GPU";
    case wgpu::AdapterType::IntegratedGPU: return "integrated GPU";
    case wgpu::AdapterType::CPU: return "CPU";
    default: return "unknown";
  }
}

/// Smaller is better: what kind of device it is, then how close its backend is to the hardware.
int rank(const DeviceInfo& info) {
  const int type = info.type == "discrete GPU" ? 0 : info.type == "integrated GPU" ? 1 : info.type == "CPU" ? 3 : 2;
  const bool modern = info.backend == "Vulkan" || info.backend == "Metal" || info.backend == "D3D12";
  return type * 2 + (modern ? 0 : 1);
}

/// The shapes that multiply f16 and add up in f32.
std::vector<MatrixShape> matrix_shapes(const wgpu::AdapterPropertiesSubgroupMatrixConfigs& configs) {
  std::vector<MatrixShape> shapes;
  for (const wgpu::SubgroupMatrixConfig& config : std::span(configs.configs, configs.configCount)) {
    if (config.componentType == wgpu::SubgroupMatrixComponentType::F16 &&
        config.resultComponentType == wgpu::SubgroupMatrixComponentType::F32) {
      shapes.push_back({.m = config.M, .n = config.N, .k = config.K});
    }
  }
  return shapes;
}

DeviceInfo describe(const wgpu::Instance& instance, const wgpu::Adapter& adapter) {
  DeviceInfo info;
  wgpu::AdapterInfo details;
  wgpu::AdapterPropertiesMemoryHeaps heaps;
  if (adapter.HasFeature(wgpu::FeatureName::AdapterPropertiesMemoryHeaps)) details.nextInChain = &heaps;
  wgpu::AdapterPropertiesSubgroupMatrixConfigs matrices;
  if (adapter.HasFeature(wgpu::FeatureName::ChromiumExperimentalSubgroupMatrix)) {
    matrices.nextInChain = details.nextInChain;
    details.nextInChain = &matrices;
  }
  adapter.GetInfo(&details);
  info.matrix_shapes = matrix_shapes(matrices);
  for (size_t i = 0; i < heaps.heapCount; ++i) {
    const wgpu::MemoryHeapInfo& heap = heaps.heapInfo[i];
    info.memory_bytes += heap.size;
    // Some devices have a second, small heap of their own that the host can write to: a part of the first.
    if ((heap.properties & wgpu::HeapProperty::DeviceLocal) != wgpu::HeapProperty::None) {
      info.local_memory_bytes = std::max<uint64_t>(info.local_memory_bytes, heap.size);
    }
  }
  info.name = to_string(details.device);
  info.vendor = to_string(details.vendor);
  info.driver = to_string(details.description);
  info.backend = backend_name(details.backendType);
  info.type = type_name(details.adapterType);
  info.features.f16 = adapter.HasFeature(wgpu::FeatureName::ShaderF16);
  info.features.subgroups = adapter.HasFeature(wgpu::FeatureName::Subgroups) &&
                            instance.HasWGSLLanguageFeature(wgpu::WGSLLanguageFeatureName::SubgroupId);
  info.features.subgroup_matrix = adapter.HasFeature(wgpu::FeatureName::ChromiumExperimentalSubgroupMatrix);
  info.features.timestamps = adapter.HasFeature(wgpu::FeatureName::TimestampQuery);
  if (info.features.subgroups) {
    info.subgroup_min_size = details.subgroupMinSize;
    info.subgroup_max_size = details.subgroupMaxSize;
  }
  wgpu::Limits limits;
  adapter.GetLimits(&limits);
  info.features.immediates = limits.maxImmediateSize >= kImmediateBytes &&
                             instance.HasWGSLLanguageFeature(wgpu::WGSLLanguageFeatureName::ImmediateAddressSpace);
  info.limits = Limits{.max_buffer_bytes = limits.maxBufferSize,
                       .max_binding_bytes = limits.maxStorageBufferBindingSize,
                       .max_storage_buffers = limits.maxStorageBuffersPerShaderStage,
                       .max_workgroup_memory_bytes = limits.maxComputeWorkgroupStorageSize,
                       .max_workgroup_invocations = limits.maxComputeInvocationsPerWorkgroup,
                       .max_workgroups_per_dimension = limits.maxComputeWorkgroupsPerDimension,
                       .uniform_alignment = limits.minUniformBufferOffsetAlignment};
  return info;
}

/// Asks Dawn for every adapter, with the toggles that make optional features visible.
std::vector<wgpu::Adapter> enumerate(const wgpu::Instance& instance) {
  // NVIDIA's driver supports f16, but Dawn shows it only on request; matrix units are experimental.
  static constexpr const char* kEnabled[] = {"allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"};
  wgpu::DawnTogglesDescriptor toggles;
  toggles.enabledToggleCount = std::size(kEnabled);
  toggles.enabledToggles = kEnabled;
  wgpu::RequestAdapterOptions options;
  options.nextInChain = &toggles;
  options.featureLevel = wgpu::FeatureLevel::Core;
  dawn::native::Instance native(reinterpret_cast<dawn::native::InstanceBase*>(instance.Get()));
  std::vector<wgpu::Adapter> adapters;
  for (const auto& adapter : native.EnumerateAdapters(&options)) adapters.emplace_back(adapter.Get());
  return adapters;
}

Result<Instance> create_instance() {
  CRIA_TRY(prepare_drivers());
  static constexpr const char* kEnabled[] = {"allow_unsafe_apis"};
  wgpu::DawnTogglesDescriptor toggles;
  toggles.enabledToggleCount = std::size(kEnabled);
  toggles.enabledToggles = kEnabled;
  static constexpr wgpu::InstanceFeatureName kFeatures[] = {wgpu::InstanceFeatureName::TimedWaitAny,
                                                            wgpu::InstanceFeatureName::MultipleDevicesPerAdapter};
  wgpu::InstanceDescriptor descriptor;
  descriptor.nextInChain = &toggles;
  descriptor.requiredFeatureCount = std::size(kFeatures);
  descriptor.requiredFeatures = kFeatures;
  Instance instance;
  instance.handle = wgpu::CreateInstance(&descriptor);
  if (!instance.handle) return fail(ErrorCode::kDevice, "WebGPU could not be started");

  std::vector<std::pair<DeviceInfo, wgpu::Adapter>> found;
  std::set<std::string> names;
  for (auto& adapter : enumerate(instance.handle)) {
    DeviceInfo info = describe(instance.handle, adapter);
    if (info.backend == "other") continue;
    // One GPU may appear several times (several drivers or loaders): the first of each kind counts.
    if (names.insert(info.name + info.backend + info.driver).second) found.emplace_back(info, adapter);
  }
  if (found.empty()) {
    return fail(ErrorCode::kNotFound,
                "no GPU was found: install a Vulkan driver for it (Debian: mesa-vulkan-drivers, or the vendor's own)");
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return rank(a.first) < rank(b.first); });
  for (auto& [info, adapter] : found) {
    info.index = static_cast<uint32_t>(instance.infos.size());
    instance.infos.push_back(info);
    instance.adapters.push_back(adapter);
  }
  return instance;
}

}  // namespace

Result<Instance*> shared_instance() {
  // Never destroyed: drivers do not like being unloaded while the process ends.
  static Instance* instance = nullptr;
  if (instance == nullptr) {
    CRIA_TRY_ASSIGN(Instance created, create_instance());
    instance = new Instance(std::move(created));
  }
  return instance;
}

}  // namespace detail

Result<std::vector<DeviceInfo>> list_devices() {
  CRIA_TRY_ASSIGN(const detail::Instance* instance, detail::shared_instance());
  return instance->infos;
}

Result<FeatureSet> parse_features(std::string_view list) {
  FeatureSet features;
  while (!list.empty()) {
    const std::string_view word = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), word.size() + 1));
    const auto* known = std::ranges::find(kFeatureNames, word, &FeatureName::name);
    if (known == std::end(kFeatureNames)) {
      return fail(ErrorCode::kInvalidInput, "there is no feature \"{}\": the features are {}", word,
                  feature_names(kAllFeatures));
    }
    features.*(known->member) = true;
  }
  return features;
}

std::string feature_names(const FeatureSet& features, std::string_view separator) {
  std::string names;
  for (const FeatureName& feature : kFeatureNames) {
    if (features.*(feature.member)) names += fmt::format("{}{}", names.empty() ? "" : separator, feature.name);
  }
  return names.empty() ? "none" : names;
}

}  // namespace cria::gpu
