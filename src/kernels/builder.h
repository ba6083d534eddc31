// What the .cpp files of kernels share: choosing a shader's modules for a device, and cutting grids.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/device.h"
#include "kernels/embedded.h"
#include "kernels/matrix.h"

namespace cria::kernels {

/// The storage type of keys and values in the cache; kInt8 has a scale for each head of a position, and needs heads of
/// a multiple of 8 elements.
enum class KvType : uint8_t { kF32, kF16, kInt8 };
inline constexpr KvType kKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kInt8};
[[nodiscard]] std::string_view kv_type_name(KvType type);
/// Bytes of one head of one position, its scale included: of its key, or of its value.
[[nodiscard]] uint32_t kv_row_bytes(KvType type, uint32_t head_dim);

/// Collects a PipelineSpec for one shader file.
class SpecBuilder {
 public:
  SpecBuilder(const gpu::Device& device, std::string_view shader);

  /// Adds `const NAME` to the prelude.
  template <typename T>
  SpecBuilder& constant(std::string_view name, T value) {
    spec_.constants.emplace_back(name, value);
    return *this;
  }
  /// Adds the decoder of a weight format (bindings 1 and 2, `load_chunk`): native f16 where the device has it.
  SpecBuilder& weights(const WeightFormat& format);
  /// Adds integer products with a quantised format (bindings 1 and 2, `load_unit`, `unit_product`).
  SpecBuilder& blocks(const WeightFormat& format);
  /// Adds the decoder of a weight format to f16 (bindings 1 and 2, `load_piece`, `halves`); not for f32.
  SpecBuilder& halves(const WeightFormat& format);
  /// Adds `Element`, how outputs are stored: f16 or f32.
  SpecBuilder& element(bool is_half);
  /// Adds the extensions that matrix units need, and the constants M, N and K.
  SpecBuilder& matrices(const gpu::MatrixShape& shape);
  /// Adds how pairs of elements are read from the KV cache (`KvPair`, `key_pair`, `value_pair`).
  SpecBuilder& kv(KvType type);
  /// Adds reductions over a workgroup (`Lanes`, `workgroup_sum`, …) through subgroups or shared memory,
  /// and the constant WORKGROUP_SIZE.
  SpecBuilder& reductions(uint32_t workgroup_size);
  /// Adds teams of invocations (`Team`, `team_sum`, …): subgroups, or parts of the workgroup without them,
  /// and the constant WORKGROUP_SIZE.
  SpecBuilder& teams(uint32_t workgroup_size);
  /// The same; without `in_subgroups` parts of the workgroup, 32 invocations each, on any device.
  SpecBuilder& teams(uint32_t workgroup_size, bool in_subgroups);
  /// Adds parts of a workgroup (`Part`, `part_sum4`) of `lanes` invocations each: within subgroups, or through
  /// workgroup memory; and the constants WORKGROUP_SIZE and LANES.
  SpecBuilder& parts(uint32_t workgroup_size, uint32_t lanes, bool in_subgroups);
  /// Adds the bias of a product (binding 4, `bias_at`), or none, and HAS_BIAS.
  SpecBuilder& bias(bool has_bias);
  /// Adds the weights of a norm at a binding (`norm_at`), or none, and HAS_NORM.
  SpecBuilder& norm(bool has_norm, uint32_t binding);
  /// Adds a module that only the shaders of one operation share.
  SpecBuilder& module(std::string_view name);

  /// Appends to the pipeline's name, for variants that constants make.
  SpecBuilder& suffix(std::string_view text) {
    spec_.name += text;
    return *this;
  }

  /// The pipeline's name: the shader's, and what was added so far.
  [[nodiscard]] const std::string& name() const { return spec_.name; }
  /// The access of bindings 1, 2, …: one letter each, 'r' (read), 'w' (read and write) or '-' (not used).
  Result<gpu::Pipeline> build(gpu::Device& device, std::string_view access, uint32_t params_bytes);

 private:
  void add_module(std::string_view name);
  void add_super_scales(WeightType type);
  void enable(std::string_view extension);
  SpecBuilder& over_subgroups(std::string_view module, uint32_t workgroup_size, bool has_subgroups);
  SpecBuilder& name_format(const WeightFormat& format, std::string_view suffix);
  gpu::FeatureSet features_;
  uint32_t subgroup_size_ = 0;  // 0 where there are several, or none
  gpu::PipelineSpec spec_;
};

/// Invocations of a team that is a part of the workgroup: TEAM_SIZE in team_shared.wgsl.
inline constexpr uint32_t kSharedTeam = 32;
/// Invocations of the largest team.
[[nodiscard]] uint32_t largest_team(const gpu::Device& device, bool in_subgroups);

/// A grid of `count` workgroups in x, folded into y where the device's limit of workgroups per dimension is lower.
/// Shaders recover the index as `group.x + group.y * groups.x`.
[[nodiscard]] std::array<uint32_t, 3> folded_grid(uint32_t limit, uint32_t count, uint32_t z = 1);

}  // namespace cria::kernels
