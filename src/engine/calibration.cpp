#include "engine/calibration.h"

#include <algorithm>
#include <cstring>

#include "base/platform.h"

namespace cria::engine {
namespace {

using model::Product;

/// Of one layer, so many keep no device busy for half a second (engine/pass_size.h).
constexpr uint32_t kPassTokens = 128;

}  // namespace

/// A checkpoint in which some tensors are others, held in memory.
class Calibration::Patched : public formats::Checkpoint {
 public:
  explicit Patched(const Checkpoint& original) : original_(original) {}

  void add(const model::ConvertedTensor& tensor, std::vector<std::byte> data) {
    Tensor& added = tensors_[tensor.name];
    added.data = std::move(data);
    added.view.name = tensor.name;
    added.view.dtype = tensor.dtype;
    added.view.shape = tensor.shape;
    added.view.data = added.data;
  }
  void clear() { tensors_.clear(); }
  [[nodiscard]] bool has(const std::string& name) const { return tensors_.contains(name); }

  [[nodiscard]] const std::filesystem::path& path() const override { return original_.path(); }
  [[nodiscard]] const formats::TensorView* find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? original_.find(name) : &found->second.view;
  }
  [[nodiscard]] std::vector<std::string> names() const override { return original_.names(); }

 private:
  struct Tensor {
    std::vector<std::byte> data;
    formats::TensorView view;
  };
  const Checkpoint& original_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

Calibration::Calibration() = default;
Calibration::Calibration(Calibration&&) noexcept = default;
Calibration& Calibration::operator=(Calibration&&) noexcept = default;
Calibration::~Calibration() = default;

Result<Calibration> Calibration::create(const OpenedModel& opened, std::span<const model::ConvertedTensor> tensors,
                                        const std::string& text, const gpu::DeviceOptions& device) {
  Calibration calibration;
  EngineOptions options;
  options.device = device;
  options.needs_tokenizer = true;
  CRIA_TRY_ASSIGN(calibration.engine_, Engine::load(opened.files.path(), options));
  Engine& engine = *calibration.engine_;
  CRIA_TRY_ASSIGN(calibration.tokens_, engine.tokenizer().encode(text));
  calibration.window_ = std::min(kWindow, engine.model().memory_plan().max_context);
  const size_t windows = calibration.tokens_.size() / calibration.window_;
  if (windows == 0) {
    return fail(ErrorCode::kInvalidInput, "the calibration text has {} tokens, fewer than one window of {}",
                calibration.tokens_.size(), calibration.window_);
  }
  calibration.tokens_.resize(windows * calibration.window_);
  for (Stream& stream : calibration.streams_) {
    stream.hidden.resize(calibration.tokens_.size() * engine.model().hidden().stride());
  }
  calibration.patched_ = std::make_unique<Patched>(opened.files.checkpoint());
  calibration.table_ = model::weight_table(engine.config());
  std::map<std::string, Place> places;
  for (uint32_t layer = 0; layer < calibration.table_.layers.size(); ++layer) {
    const model::LayerSpec& spec = calibration.table_.layers[layer];
    for (const auto& [matrix, product] :
         {std::pair(&spec.o, Product::kO), {&spec.gate_up, Product::kGateUp}, {&spec.down, Product::kDown}}) {
      for (const model::MatrixSpec::Part& part : matrix->parts) places[part.name] = {layer, product};
    }
  }
  for (const model::ConvertedTensor& tensor : tensors) {
    const auto place = places.find(tensor.name);
    const bool is_encoded = tensor.dtype == formats::DType::kQ4_0 && tensor.source->dtype != tensor.dtype;
    if (place != places.end() && is_encoded) calibration.places_.insert(*place);
  }
  return calibration;
}

Result<const quant::SecondMoments*> Calibration::inputs_of(const std::string& tensor) {
  const auto place = places_.find(tensor);
  if (place == places_.end()) return nullptr;
  if (!moments_ || place->second != place_) CRIA_TRY(gather(place->second));
  return &*moments_;
}

Status Calibration::take(const model::ConvertedTensor& tensor, std::vector<std::byte> blocks) {
  CRIA_CHECK(places_.at(tensor.name) == place_);
  patched_->add(tensor, std::move(blocks));
  const model::LayerSpec& layer = table_.layers[place_.layer];
  const auto complete = [&](const model::MatrixSpec& spec, std::optional<kernels::Matrix>& matrix) -> Status {
    for (const model::MatrixSpec::Part& part : spec.parts) {
      if (places_.contains(part.name) && !patched_->has(part.name)) return {};
    }
    CRIA_TRY_ASSIGN(matrix, model::load_matrix(engine_->device(), spec, *patched_, {}));
    return {};
  };
  switch (place_.product) {
    case Product::kO: return complete(layer.o, quantised_.o);
    case Product::kGateUp: return complete(layer.gate_up, quantised_.gate_up);
    case Product::kDown: return complete(layer.down, quantised_.down);
  }
  return {};
}

/// The moments of an input of this layer or a later one.
Status Calibration::gather(Place place) {
  CRIA_CHECK(place >= place_);
  while (place_.layer < place.layer) CRIA_TRY(finish_layer());
  place_ = place;
  const kernels::Activation& input = engine_->model().product_input(place.product);
  moments_.emplace(input.columns);
  std::array<std::vector<float>, 2> inputs;
  for (size_t first = 0; first < tokens_.size(); first += window_) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs[i].clear();
      CRIA_TRY(run_window(streams_[i], first, &inputs[i]));
    }
    moments_->add(inputs[1], inputs[0], input.stride());
  }
  if (moments_->finish()) return {};
  return fail(ErrorCode::kNotFinite, "the activations of layer {} are NaN or infinite: the weights may be damaged",
              place.layer);
}

/// Runs both models through a layer whose matrices are all done.
Status Calibration::finish_layer() {
  moments_.reset();
  for (size_t first = 0; first < tokens_.size(); first += window_) {
    for (Stream& stream : streams_) CRIA_TRY(run_window(stream, first, nullptr));
  }
  quantised_ = {};
  patched_->clear();
  ++place_.layer;
  return {};
}

/// Runs a window through the layer of place_: for its inputs, or else to the next layer.
Status Calibration::run_window(Stream& stream, size_t first, std::vector<float>* inputs) {
  gpu::Device& device = engine_->device();
  model::Model& model = engine_->model();
  const kernels::Activation& hidden = model.hidden();
  const uint32_t layer = place_.layer;
  if (stream.is_quantised) CRIA_TRY(model.exchange(device, layer, quantised_));
  model.kv_cache().truncate(0, 0);
  CRIA_TRY(model.kv_cache().reserve(device, 0, window_));
  for (uint32_t position = 0; position < window_;) {
    if (platform::interrupted()) return fail(ErrorCode::kIo, "interrupted while reading the calibration text");
    const uint32_t count = std::min({kPassTokens, model.max_batch_tokens(), window_ - position});
    auto batch = model::Batch::of(0, position, count);
    const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(first + position);
    batch.tokens.assign(begin, begin + count);
    batch.rope_length = window_;
    batch.only_layer = layer;
    if (inputs != nullptr) batch.before = place_.product;
    const size_t stride = hidden.stride();
    const std::span<float> states = std::span(stream.hidden).subspan((first + position) * stride, count * stride);
    if (layer > 0) CRIA_TRY(device.write(hidden.buffer, 0, std::as_bytes(states)));
    gpu::Recorder recorder = device.record("calibration");
    CRIA_TRY(model.forward(device, recorder, batch));
    CRIA_TRY(recorder.submit());
    const kernels::Activation& wanted = inputs == nullptr ? hidden : model.product_input(place_.product);
    const uint64_t bytes = uint64_t{count} * wanted.stride() * sizeof(float);
    CRIA_TRY_ASSIGN(const std::vector<std::byte> read, device.read(wanted.buffer, 0, bytes));
    std::span<float> target = states;
    if (inputs != nullptr) {
      inputs->resize(inputs->size() + bytes / sizeof(float));
      target = std::span(*inputs).last(bytes / sizeof(float));
    }
    std::memcpy(target.data(), read.data(), bytes);
    position += count;
  }
  return stream.is_quantised ? model.exchange(device, layer, quantised_) : Status();
}

}  // namespace cria::engine
