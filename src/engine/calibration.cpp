#include "engine/calibration.h"

#include <algorithm>
#include <cstring>

#include "base/platform.h"

namespace cria::engine {
namespace {

/// Of one layer, so many keep no device busy for half a second (engine/pass_size.h).
constexpr uint32_t kPassTokens = 128;

bool is_whole_blocks(uint32_t columns) { return columns % 32 == 0; }

}  // namespace

Result<Calibration> Calibration::create(const std::filesystem::path& model, const std::string& text,
                                        const gpu::DeviceOptions& device) {
  Calibration calibration;
  EngineOptions options;
  options.device = device;
  options.needs_tokenizer = true;
  CRIA_TRY_ASSIGN(calibration.engine_, Engine::load(model, options));
  Engine& engine = *calibration.engine_;
  CRIA_TRY_ASSIGN(calibration.tokens_, engine.tokenizer().encode(text));
  calibration.window_ = std::min(kWindow, engine.model().memory_plan().max_context);
  const size_t windows = calibration.tokens_.size() / calibration.window_;
  if (windows == 0) {
    return fail(ErrorCode::kInvalidInput, "the calibration text has {} tokens, fewer than one window of {}",
                calibration.tokens_.size(), calibration.window_);
  }
  calibration.tokens_.resize(windows * calibration.window_);
  const model::WeightTable table = model::weight_table(engine.config());
  for (uint32_t layer = 0; layer < table.layers.size(); ++layer) {
    const model::LayerSpec& spec = table.layers[layer];
    for (const auto& [matrix, input] :
         {std::pair(&spec.o, Input::kO), {&spec.gate_up, Input::kGateUp}, {&spec.down, Input::kDown}}) {
      if (!is_whole_blocks(matrix->columns)) continue;
      for (const model::MatrixSpec::Part& part : matrix->parts) calibration.places_[part.name] = {layer, input};
    }
  }
  return calibration;
}

Result<const quant::SecondMoments*> Calibration::inputs_of(const std::string& tensor) {
  const auto place = places_.find(tensor);
  if (place == places_.end()) return nullptr;
  const auto [layer, input] = place->second;
  if (!moments_.contains({layer, input})) CRIA_TRY(gather(layer));
  return &moments_.at({layer, input});
}

Status Calibration::gather(uint32_t first_layer) {
  moments_.clear();
  const model::ProductInputs inputs = engine_->model().product_inputs();
  uint64_t bytes = 0;
  uint32_t layers = first_layer;
  for (; layers < engine_->config().num_layers; ++layers) {
    uint64_t more = 0;
    for (const uint64_t columns : {inputs.o.columns, inputs.gate_up.columns, inputs.down.columns}) {
      more += columns * columns * sizeof(float);
    }
    if (layers > first_layer && bytes + more > kMomentBytes) break;
    bytes += more;
    for (const auto& [input, activation] :
         {std::pair(Input::kO, &inputs.o), {Input::kGateUp, &inputs.gate_up}, {Input::kDown, &inputs.down}}) {
      if (!is_whole_blocks(activation->columns)) continue;
      moments_.emplace(std::pair(layers, input), activation->columns);
    }
  }
  for (size_t first = 0; first < tokens_.size(); first += window_) CRIA_TRY(gather_window(first, layers));
  for (auto& [place, moments] : moments_) {
    if (moments.finish()) continue;
    return fail(ErrorCode::kNotFinite, "the activations of layer {} are NaN or infinite: the weights may be damaged",
                place.first);
  }
  return {};
}

Status Calibration::gather_window(size_t first, uint32_t layers) {
  gpu::Device& device = engine_->device();
  model::Model& model = engine_->model();
  model.kv_cache().truncate(0, 0);
  CRIA_TRY(model.kv_cache().reserve(device, 0, window_));
  for (uint32_t position = 0; position < window_;) {
    const uint32_t count = std::min({kPassTokens, model.max_batch_tokens(), window_ - position});
    auto batch = model::Batch::of(0, position, count);
    const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(first + position);
    batch.tokens.assign(begin, begin + count);
    batch.rope_length = window_;
    for (uint32_t layer = 0; layer < layers; ++layer) {
      if (platform::interrupted()) return fail(ErrorCode::kIo, "interrupted while reading the calibration text");
      batch.only_layer = layer;
      gpu::Recorder recorder = device.record("calibration");
      CRIA_TRY(model.forward(device, recorder, batch));
      CRIA_TRY(recorder.submit());
      CRIA_TRY(add_inputs(layer, count));
    }
    position += count;
  }
  return {};
}

Status Calibration::add_inputs(uint32_t layer, uint32_t count) {
  const model::ProductInputs inputs = engine_->model().product_inputs();
  for (const auto& [input, activation] :
       {std::pair(Input::kO, &inputs.o), {Input::kGateUp, &inputs.gate_up}, {Input::kDown, &inputs.down}}) {
    const auto moments = moments_.find({layer, input});
    if (moments == moments_.end()) continue;
    const uint64_t bytes = uint64_t{count} * activation->stride() * sizeof(float);
    CRIA_TRY_ASSIGN(const std::vector<std::byte> read, engine_->device().read(activation->buffer, 0, bytes));
    std::vector<float> values(bytes / sizeof(float));
    std::memcpy(values.data(), read.data(), bytes);
    moments->second.add(values, activation->stride());
  }
  return engine_->device().wait_idle();
}

}  // namespace cria::engine
