// What a model's matrices are multiplied by over a text, as second moments (quant/second_moments.h), while the model is
// quantised layer by layer: what the quantised one is multiplied by, and how far that is from the original.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/convert.h"
#include "quant/second_moments.h"

namespace cria::engine {

/// Two models run over the text in f32, in windows that each begin anew: the original, and one whose matrices are
/// replaced as soon as they are quantised. A layer at a time, they have all weights but those of this layer in common.
/// Memory of the host: the hidden states of the whole text, twice, and the moments of one input.
class Calibration {
 public:
  /// Tokens of a window; fewer where the context is shorter.
  static constexpr uint32_t kWindow = 512;

  /// Loads the model and cuts the text. `opened` must live as long; of `tensors`, those that become Q4_0 and are not
  /// yet have moments, of matrices behind queries, keys and values. Errors: those of Engine::load and of tokenizing;
  /// kInvalidInput for a text of less than a window.
  static Result<Calibration> create(const OpenedModel& opened, std::span<const model::ConvertedTensor> tensors,
                                    const std::string& text, const gpu::DeviceOptions& device);
  Calibration(Calibration&&) noexcept;
  Calibration& operator=(Calibration&&) noexcept;
  Calibration(const Calibration&) = delete;
  Calibration& operator=(const Calibration&) = delete;
  ~Calibration();

  /// Of the inputs of the matrix with this tensor; nullptr for tensors without moments. Valid until the next call, and
  /// cheap where the tensor before had the same inputs. Tensors are asked for in the order of the forward pass, each
  /// one with moments followed by take(). Errors: kNotFinite where inputs are NaN or infinite; kIo where it is
  /// interrupted; kDevice, kOutOfMemory.
  Result<const quant::SecondMoments*> inputs_of(const std::string& tensor);
  /// Takes the blocks that a tensor became. Errors: kDevice, kOutOfMemory.
  Status take(const model::ConvertedTensor& tensor, std::vector<std::byte> blocks);

 private:
  struct Place {
    uint32_t layer = 0;
    model::Product product = model::Product::kO;
    auto operator<=>(const Place&) const = default;
  };
  /// One of the two models: the states between the layers, f32 [tokens, stride] of Model::hidden().
  struct Stream {
    bool is_quantised = false;
    std::vector<float> hidden = {};
  };
  class Patched;

  Calibration();
  Status gather(Place place);
  Status finish_layer();
  Status run_window(Stream& stream, size_t first, std::vector<float>* inputs);

  std::unique_ptr<Engine> engine_;
  model::WeightTable table_;
  std::vector<uint32_t> tokens_;  // whole windows
  uint32_t window_ = kWindow;
  std::map<std::string, Place> places_;
  std::array<Stream, 2> streams_{Stream{.is_quantised = false}, Stream{.is_quantised = true}};
  Place place_;  // of moments_; all layers before its own are done
  std::optional<quant::SecondMoments> moments_;
  std::unique_ptr<Patched> patched_;  // what has been taken of the layer
  model::LayerMatrices quantised_;    // the matrices of the layer that are complete
};

}  // namespace cria::engine
