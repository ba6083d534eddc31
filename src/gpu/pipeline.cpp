// From a shader's text and its parameters to a compute pipeline, with errors that name the shader.
#include <algorithm>
#include <cctype>

#include "gpu/impl.h"

namespace cria::gpu {

Constant::Constant(std::string_view constant_name, uint32_t value)
    : name(constant_name), declaration(fmt::format("const {}: u32 = {}u;", constant_name, value)) {}
Constant::Constant(std::string_view constant_name, float value)
    : name(constant_name), declaration(fmt::format("const {}: f32 = {:.9g}f;", constant_name, value)) {}
Constant::Constant(std::string_view constant_name, bool value)
    : name(constant_name), declaration(fmt::format("const {}: bool = {};", constant_name, value)) {}

const std::string& Pipeline::name() const { return impl_->name; }

namespace {

constexpr std::string_view kUniformParams = "@group(0) @binding(0) var<uniform> params: Params;\n";
constexpr std::string_view kImmediateParams = "var<immediate> params: Params;\n";

bool is_word_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// True where `word` stands in the text as a whole identifier.
bool mentions(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !is_word_character(text[at - 1]);
    const size_t after = at + word.size();
    if (begins && (after == text.size() || !is_word_character(text[after]))) return true;
  }
  return false;
}

/// The prelude (enable lines, constants and the parameters), the shared modules, then the shader, unaltered.
Result<std::string> assemble(const PipelineSpec& spec, bool takes_immediates) {
  std::string body;
  for (const std::string_view module : spec.modules) body += fmt::format("{}\n", module);
  body += spec.source;
  std::string text;
  for (const std::string& name : spec.enables) text += fmt::format("enable {};\n", name);
  for (const std::string& name : spec.requirements) text += fmt::format("requires {};\n", name);
  if (takes_immediates) text += "requires immediate_address_space;\n";
  for (const Constant& constant : spec.constants) {
    if (!mentions(body, constant.name)) {
      return fail(ErrorCode::kDevice, "shader {}: the parameter {} is unknown to it", spec.name, constant.name);
    }
    text += constant.declaration + "\n";
  }
  if (spec.params_bytes > 0) text += takes_immediates ? kImmediateParams : kUniformParams;
  return text + body;
}

wgpu::BindGroupLayout make_layout(const wgpu::Device& device, const PipelineSpec& spec, bool takes_immediates) {
  std::vector<wgpu::BindGroupLayoutEntry> entries;
  if (!takes_immediates) {
    wgpu::BindGroupLayoutEntry& uniform = entries.emplace_back();
    uniform.binding = 0;
    uniform.visibility = wgpu::ShaderStage::Compute;
    uniform.buffer.type = wgpu::BufferBindingType::Uniform;
    uniform.buffer.hasDynamicOffset = true;
    uniform.buffer.minBindingSize = spec.params_bytes;
  }
  for (size_t i = 0; i < spec.bindings.size(); ++i) {
    if (spec.bindings[i] == Access::kNone) continue;
    wgpu::BindGroupLayoutEntry& entry = entries.emplace_back();
    entry.binding = static_cast<uint32_t>(i + 1);
    entry.visibility = wgpu::ShaderStage::Compute;
    entry.buffer.type =
        spec.bindings[i] == Access::kRead ? wgpu::BufferBindingType::ReadOnlyStorage : wgpu::BufferBindingType::Storage;
  }
  wgpu::BindGroupLayoutDescriptor descriptor;
  descriptor.label = std::string_view(spec.name);
  descriptor.entryCount = entries.size();
  descriptor.entries = entries.data();
  return device.CreateBindGroupLayout(&descriptor);
}

}  // namespace

Result<Pipeline> Device::create_pipeline(const PipelineSpec& spec) {
  const bool takes_immediates =
      impl_->info.features.immediates && spec.params_bytes > 0 && spec.params_bytes <= detail::kImmediateBytes;
  CRIA_TRY_ASSIGN(const std::string text, assemble(spec, takes_immediates));
  const std::string key = spec.name + '\n' + text;
  if (const auto known = impl_->pipelines.find(key); known != impl_->pipelines.end()) return Pipeline(known->second);
  const auto used = spec.bindings.size() - std::ranges::count(spec.bindings, Access::kNone);
  if (used > impl_->info.limits.max_storage_buffers) {
    return fail(ErrorCode::kUnsupported, "shader {}: needs {} storage buffers; {} allows {}", spec.name, used,
                impl_->info.name, impl_->info.limits.max_storage_buffers);
  }
  CRIA_CHECK(spec.params_bytes % 16 == 0 && spec.params_bytes <= impl_->params_slot_bytes);

  auto pipeline = std::make_shared<detail::PipelineImpl>();
  pipeline->name = spec.name;
  pipeline->bindings = spec.bindings;
  pipeline->params_bytes = spec.params_bytes;
  pipeline->takes_immediates = takes_immediates;
  CRIA_TRY(detail::scoped(*impl_, fmt::format("shader {}", spec.name), [&] {
    wgpu::ShaderSourceWGSL code;
    code.code = std::string_view(text);
    wgpu::ShaderModuleDescriptor module_descriptor;
    module_descriptor.nextInChain = &code;
    module_descriptor.label = std::string_view(spec.name);
    const wgpu::ShaderModule module = impl_->handle.CreateShaderModule(&module_descriptor);
    pipeline->layout = make_layout(impl_->handle, spec, takes_immediates);
    wgpu::PipelineLayoutDescriptor layout_descriptor;
    layout_descriptor.bindGroupLayoutCount = 1;
    layout_descriptor.bindGroupLayouts = &pipeline->layout;
    if (takes_immediates) layout_descriptor.immediateSize = spec.params_bytes;
    wgpu::ComputePipelineDescriptor descriptor;
    descriptor.label = std::string_view(spec.name);
    descriptor.layout = impl_->handle.CreatePipelineLayout(&layout_descriptor);
    descriptor.compute.module = module;
    pipeline->handle = impl_->handle.CreateComputePipeline(&descriptor);
  }));
  impl_->pipelines.emplace(key, pipeline);
  return Pipeline(std::move(pipeline));
}

}  // namespace cria::gpu
