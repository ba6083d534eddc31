// What a model's matrices are multiplied by over a text, as second moments (quant/second_moments.h).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "quant/second_moments.h"

namespace cria::engine {

/// The model runs over the text in f32, in windows that each begin anew, once for all layers whose moments fit in
/// kMomentBytes together, at least one.
class Calibration {
 public:
  /// Tokens of a window; fewer where the context is shorter.
  static constexpr uint32_t kWindow = 512;
  static constexpr uint64_t kMomentBytes = 1ULL << 30;

  /// Loads the model and cuts the text. Errors: those of Engine::load and of tokenizing; kInvalidInput for a text of
  /// less than a window.
  static Result<Calibration> create(const std::filesystem::path& model, const std::string& text,
                                    const gpu::DeviceOptions& device);

  /// Of the inputs of the matrix with this tensor (output of attention, gate, up or down of a layer); nullptr for other
  /// tensors, and where columns are no whole blocks. Valid until the next call. Cheap for tensors of the same layer one
  /// after the other, and of those that are gathered with it. Errors: kNotFinite where inputs are NaN or infinite; kIo
  /// where it is interrupted; kDevice, kOutOfMemory.
  Result<const quant::SecondMoments*> inputs_of(const std::string& tensor);

 private:
  enum class Input : uint8_t { kO, kGateUp, kDown };
  struct Place {
    uint32_t layer = 0;
    Input input = Input::kO;
  };
  Status gather(uint32_t first_layer);
  Status gather_window(size_t first, uint32_t layers);
  Status add_inputs(uint32_t layer, uint32_t count);

  std::unique_ptr<Engine> engine_;
  std::vector<uint32_t> tokens_;  // whole windows
  uint32_t window_ = kWindow;
  std::map<std::string, Place> places_;
  std::map<std::pair<uint32_t, Input>, quant::SecondMoments> moments_;  // of some layers
};

}  // namespace cria::engine
