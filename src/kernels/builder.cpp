#include "kernels/builder.h"

#include <algorithm>

namespace cria::kernels {

std::string_view shader_source(std::string_view name) {
  const auto shaders = embedded_shaders();
  const auto found =
      std::find_if(shaders.begin(), shaders.end(), [&](const EmbeddedShader& shader) { return shader.name == name; });
  CRIA_CHECK(found != shaders.end());
  return found->source;
}

std::string_view kv_type_name(KvType type) {
  switch (type) {
    case KvType::kF32: return "f32";
    case KvType::kF16: return "f16";
    case KvType::kInt8: return "int8";
  }
  return "?";
}

uint32_t kv_row_bytes(KvType type, uint32_t head_dim) {
  constexpr uint32_t kScaleBytes = 8;  // a chunk of int8, so that every row starts at one
  switch (type) {
    case KvType::kF32: return 4 * head_dim;
    case KvType::kF16: return 2 * head_dim;
    case KvType::kInt8: return head_dim + kScaleBytes;
  }
  return 0;
}

SpecBuilder::SpecBuilder(const gpu::Device& device, std::string_view shader) : features_(device.features()) {
  const gpu::DeviceInfo& info = device.info();
  if (info.subgroup_min_size == info.subgroup_max_size) subgroup_size_ = info.subgroup_max_size;
  spec_.name = std::string(shader);
  spec_.source = shader_source(shader);
}

void SpecBuilder::enable(std::string_view extension) {
  if (std::ranges::find(spec_.enables, extension) == spec_.enables.end()) spec_.enables.emplace_back(extension);
}

void SpecBuilder::add_module(std::string_view name) { spec_.modules.push_back(shader_source(name)); }

/// What the modules of Q4_K and Q5_K have in common.
void SpecBuilder::add_super_scales(WeightType type) {
  if (type == WeightType::kQ4_K || type == WeightType::kQ5_K) add_module("super_scales");
}

SpecBuilder& SpecBuilder::weights(const WeightFormat& format) {
  const bool native = format.type == WeightType::kF16 && features_.f16;
  const bool packed = format.type == WeightType::kF16 && !features_.f16;
  if (native) enable("f16");
  add_super_scales(format.type);
  add_module(fmt::format("weights_{}{}", weight_type_name(format.type), packed ? "_packed" : ""));
  return name_format(format, packed ? "_packed" : "");
}

SpecBuilder& SpecBuilder::blocks(const WeightFormat& format) {
  CRIA_CHECK(is_quantised(format.type));
  add_super_scales(format.type);
  if (!is_k_quant(format.type)) add_module("block_scales");
  if (format.type == WeightType::kInt4 || format.type == WeightType::kQ4_K) add_module("nibble_dot");
  add_module(fmt::format("blocks_{}", weight_type_name(format.type)));
  return name_format(format, "");
}

SpecBuilder& SpecBuilder::halves(const WeightFormat& format) {
  CRIA_CHECK(format.type != WeightType::kF32);
  enable("f16");
  add_super_scales(format.type);
  add_module(fmt::format("halves_{}", weight_type_name(format.type)));
  return name_format(format, "");
}

SpecBuilder& SpecBuilder::element(bool is_half) {
  if (is_half) {
    enable("f16");
    spec_.name += "_to_f16";
  }
  add_module(is_half ? "element_f16" : "element_f32");
  return *this;
}

SpecBuilder& SpecBuilder::matrices(const gpu::MatrixShape& shape) {
  enable("f16");
  enable("subgroups");
  enable("chromium_experimental_subgroup_matrix");
  spec_.requirements.emplace_back("subgroup_id");
  spec_.name += fmt::format("_{}x{}x{}", shape.m, shape.n, shape.k);
  return constant("M", shape.m).constant("N", shape.n).constant("K", shape.k);
}

SpecBuilder& SpecBuilder::name_format(const WeightFormat& format, std::string_view suffix) {
  spec_.name += fmt::format("_{}{}", weight_type_name(format.type), suffix);
  if (format.block == 0 || is_k_quant(format.type)) return *this;
  if (format.block != 32) spec_.name += fmt::format("_{}", format.block);
  return constant("BLOCK", format.block);
}

SpecBuilder& SpecBuilder::kv(KvType type) {
  add_module(fmt::format("kv_{}", kv_type_name(type)));
  spec_.name += fmt::format("_kv_{}", kv_type_name(type));
  return *this;
}

SpecBuilder& SpecBuilder::reductions(uint32_t workgroup_size) {
  return over_subgroups("lanes", workgroup_size, features_.subgroups);
}

SpecBuilder& SpecBuilder::teams(uint32_t workgroup_size) { return teams(workgroup_size, features_.subgroups); }

SpecBuilder& SpecBuilder::teams(uint32_t workgroup_size, bool in_subgroups) {
  if (in_subgroups) {
    const bool is_known = subgroup_size_ > 0 && workgroup_size % subgroup_size_ == 0;
    constant("KNOWN_TEAM", is_known ? subgroup_size_ : 0);
  }
  return over_subgroups("team", workgroup_size, in_subgroups);
}

SpecBuilder& SpecBuilder::parts(uint32_t workgroup_size, uint32_t lanes, bool in_subgroups) {
  return over_subgroups("part", workgroup_size, in_subgroups).constant("LANES", lanes);
}

SpecBuilder& SpecBuilder::over_subgroups(std::string_view module, uint32_t workgroup_size, bool has_subgroups) {
  if (has_subgroups) {
    enable("subgroups");
    spec_.requirements.emplace_back("subgroup_id");
    spec_.name += "_subgroup";
  }
  add_module(fmt::format("{}_{}", module, has_subgroups ? "subgroup" : "shared"));
  return constant("WORKGROUP_SIZE", workgroup_size);
}

SpecBuilder& SpecBuilder::bias(bool has_bias) {
  add_module(has_bias ? "bias" : "bias_none");
  return constant("HAS_BIAS", has_bias);
}

SpecBuilder& SpecBuilder::norm(bool has_norm, uint32_t binding) {
  add_module(has_norm ? "norm_weights" : "norm_weights_none");
  if (has_norm) constant("NORM_BINDING", binding);
  return constant("HAS_NORM", has_norm);
}

SpecBuilder& SpecBuilder::module(std::string_view name) {
  add_module(name);
  return *this;
}

Result<gpu::Pipeline> SpecBuilder::build(gpu::Device& device, std::string_view access, uint32_t params_bytes) {
  for (const char letter : access) {
    spec_.bindings.push_back(letter == 'r'   ? gpu::Access::kRead
                             : letter == 'w' ? gpu::Access::kReadWrite
                                             : gpu::Access::kNone);
  }
  spec_.params_bytes = params_bytes;
  return device.create_pipeline(spec_);
}

uint32_t largest_team(const gpu::Device& device, bool in_subgroups) {
  return in_subgroups ? std::max(device.info().subgroup_max_size, 1U) : kSharedTeam;
}

std::array<uint32_t, 3> folded_grid(uint32_t limit, uint32_t count, uint32_t z) {
  if (count <= limit) return {count, 1, z};
  const uint32_t y = divide_up(count, limit);
  return {divide_up(count, y), y, z};
}

}  // namespace cria::kernels
