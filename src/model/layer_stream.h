// Layers whose weights lie in memory of the host, for models that the device cannot hold.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "gpu/device.h"
#include "model/weights.h"

namespace cria::model {

/// True for the layers whose weights lie in memory of the host where `streamed` of `layers` do: they are spread evenly,
/// so that one is on its way while others are computed.
[[nodiscard]] constexpr bool is_streamed(uint32_t layer, uint32_t layers, uint32_t streamed) {
  return uint64_t{layer + 1} * streamed / layers != uint64_t{layer} * streamed / layers;
}

/// The buffers that hold a layer's matrices, in the order of the forward pass: of each shard its elements and, where it
/// has them, its scales. Norms and biases are not among them, as they are small and stay on the device.
[[nodiscard]] std::vector<gpu::Buffer*> matrix_buffers(LayerWeights& layer);

/// Bytes of two places for layers, each buffer being as large as the largest that it has to hold; of one where only one
/// layer is streamed. `layers` has the sizes of each layer's matrix_buffers.
[[nodiscard]] std::vector<std::vector<uint64_t>> place_sizes(const std::vector<std::vector<uint64_t>>& layers);

/// Keeps the weights of some layers in memory of the host. A pass copies them, one layer ahead of the kernels that need
/// them, to two places on the device, which the layers use in turn.
class LayerStream {
 public:
  /// Moves a layer's matrices to memory of the host; layers come in ascending order. Errors: kOutOfMemory, kDevice.
  Status move_out(gpu::Device& device, uint32_t index, LayerWeights& layer);
  /// Makes the places on the device and gives them to the layers that were moved out. Errors: kOutOfMemory.
  Status make_places(gpu::Device& device, std::span<LayerWeights> layers);

  /// Records what has to be copied before the kernels of a layer; to be called before each layer, in order.
  void before_layer(gpu::Recorder& recorder, uint32_t index) const;
  /// Records what a layer needs that is computed alone.
  void bring(gpu::Recorder& recorder, uint32_t index) const;
  /// Bytes that a pass copies.
  [[nodiscard]] uint64_t bytes() const;

 private:
  struct Layer {
    uint32_t index = 0;
    std::vector<gpu::HostBuffer> data;  ///< of each of its matrix_buffers
  };
  void copy(gpu::Recorder& recorder, size_t streamed) const;

  std::vector<Layer> layers_;
  std::vector<std::vector<gpu::Buffer>> places_;
};

}  // namespace cria::model
