#include "model/layer_stream.h"

#include <algorithm>
#include <cstring>

namespace cria::model {
namespace {

/// Buffers are read back in pieces of this size.
constexpr uint64_t kPieceBytes = 8ULL << 20;

Result<gpu::HostBuffer> to_host(gpu::Device& device, std::string_view label, const gpu::Buffer& buffer) {
  CRIA_TRY_ASSIGN(gpu::HostBuffer host, device.create_host_buffer(label, buffer.size_bytes()));
  const std::span<std::byte> target = host.writable();
  for (uint64_t offset = 0; offset < target.size(); offset += kPieceBytes) {
    const uint64_t bytes = std::min<uint64_t>(kPieceBytes, target.size() - offset);
    CRIA_TRY_ASSIGN(const std::vector<std::byte> piece, device.read(buffer, offset, bytes));
    std::memcpy(target.data() + offset, piece.data(), bytes);
  }
  host.seal();
  return host;
}

}  // namespace

std::vector<gpu::Buffer*> matrix_buffers(LayerWeights& layer) {
  std::vector<kernels::Matrix*> matrices;
  for (kernels::Matrix& matrix : layer.qkv) matrices.push_back(&matrix);
  matrices.insert(matrices.end(), {&layer.o, &layer.gate_up, &layer.down});
  std::vector<gpu::Buffer*> buffers;
  for (kernels::Matrix* matrix : matrices) {
    for (kernels::Matrix::Shard& shard : matrix->shards) {
      buffers.push_back(&shard.buffer);
      if (matrix->format.block != 0) buffers.push_back(&shard.scales);
    }
  }
  return buffers;
}

std::vector<std::vector<uint64_t>> place_sizes(const std::vector<std::vector<uint64_t>>& layers) {
  std::vector<std::vector<uint64_t>> places(std::min<size_t>(2, layers.size()));
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<uint64_t>& place = places[i % 2];
    place.resize(std::max(place.size(), layers[i].size()));
    for (size_t b = 0; b < layers[i].size(); ++b) place[b] = std::max(place[b], layers[i][b]);
  }
  return places;
}

Status LayerStream::move_out(gpu::Device& device, uint32_t index, LayerWeights& layer) {
  Layer moved{.index = index, .data = {}};
  for (gpu::Buffer* buffer : matrix_buffers(layer)) {
    CRIA_TRY_ASSIGN(gpu::HostBuffer host, to_host(device, fmt::format("layer {} in host memory", index), *buffer));
    moved.data.push_back(std::move(host));
    *buffer = {};
  }
  layers_.push_back(std::move(moved));
  return {};
}

Status LayerStream::make_places(gpu::Device& device, std::span<LayerWeights> layers) {
  std::vector<std::vector<uint64_t>> sizes;
  for (const Layer& layer : layers_) {
    std::vector<uint64_t>& of_layer = sizes.emplace_back();
    for (const gpu::HostBuffer& data : layer.data) of_layer.push_back(data.size_bytes());
  }
  for (const std::vector<uint64_t>& place : place_sizes(sizes)) {
    std::vector<gpu::Buffer>& buffers = places_.emplace_back();
    for (const uint64_t bytes : place) {
      CRIA_TRY_ASSIGN(gpu::Buffer buffer,
                      device.create_buffer("place of streamed layers", bytes, gpu::MemoryKind::kWeights));
      buffers.push_back(std::move(buffer));
    }
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::vector<gpu::Buffer*> buffers = matrix_buffers(layers[layers_[i].index]);
    for (size_t b = 0; b < buffers.size(); ++b) *buffers[b] = places_[i % 2][b];
  }
  return {};
}

void LayerStream::copy(gpu::Recorder& recorder, size_t streamed) const {
  recorder.split();  // a slow link must not make one submission long
  const Layer& layer = layers_[streamed];
  for (size_t b = 0; b < layer.data.size(); ++b) {
    recorder.copy(layer.data[b], 0, places_[streamed % 2][b], 0, layer.data[b].size_bytes());
  }
}

void LayerStream::before_layer(gpu::Recorder& recorder, uint32_t index) const {
  if (layers_.empty()) return;
  if (index == 0) copy(recorder, 0);
  const auto current = std::ranges::find(layers_, index, &Layer::index);
  if (current == layers_.end()) return;
  // The other place was used by the streamed layer before this one, which has been recorded.
  const auto next = static_cast<size_t>(current - layers_.begin()) + 1;
  if (next < layers_.size()) copy(recorder, next);
}

void LayerStream::bring(gpu::Recorder& recorder, uint32_t index) const {
  const auto streamed = std::ranges::find(layers_, index, &Layer::index);
  if (streamed != layers_.end()) copy(recorder, static_cast<size_t>(streamed - layers_.begin()));
}

uint64_t LayerStream::bytes() const {
  uint64_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const gpu::HostBuffer& data : layer.data) bytes += data.size_bytes();
  }
  return bytes;
}

}  // namespace cria::model
