// A loaded model with its tokenizer and device: what the command line, the API and the server share.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "engine/model_files.h"
#include "engine/pass_size.h"
#include "gpu/device.h"
#include "model/fit.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace cria::engine {

/// Where drafts of how a text goes on come from: nowhere, from the text itself, from a smaller model.
enum class DraftSource : uint8_t { kOff, kLookup, kModel };

/// Whether and how texts are continued by several tokens in a pass (engine/speculation.h).
struct DraftOptions {
  DraftSource source = DraftSource::kOff;
  std::filesystem::path model = {};  ///< of kModel
  /// Of kModel instead: its shape, with made-up weights.
  std::optional<model::ModelConfig> made_up = {};
  uint32_t tokens = 15;  ///< of a draft at most
};
inline constexpr uint32_t kMaxDraftTokens = 63;

struct EngineOptions {
  gpu::DeviceOptions device;
  model::ModelOptions model;
  DraftOptions draft = {};
  bool show_progress = false;    ///< a progress bar on the terminal while weights are uploaded
  bool needs_tokenizer = false;  ///< a model without a tokenizer is an error
};

/// GPU memory in use, in bytes, by what it is for.
struct MemoryUse {
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t scratch_bytes = 0;
};

class DraftFiles;
struct OpenedModel;

class Engine {
 public:
  /// Loads a model folder or GGUF file. Errors name the file, tensor or option that is at fault.
  static Result<std::unique_ptr<Engine>> load(const std::filesystem::path& path, const EngineOptions& options);

  /// The same with made-up weights and without a tokenizer, for measurements without a checkpoint.
  static Result<std::unique_ptr<Engine>> make_up(const model::ModelConfig& config, const EngineOptions& options);

  /// Opens the device anew, after it was lost, and loads the model again. What was made with the old device (sequences,
  /// samplers, pages, recorders) is of no use any more. Tokenizer, config(), max_context(), defaults() and path() stay
  /// as they are, so that other threads may read them meanwhile. Errors: those of load; kUnsupported where the files
  /// are not those of before. There is no model then.
  Status reload();

  [[nodiscard]] gpu::Device& device() { return device_; }
  [[nodiscard]] const gpu::Device& device() const { return device_; }
  [[nodiscard]] model::Model& model() { return model_; }
  /// The model that drafts, beside it on the same device; nullptr without DraftSource::kModel.
  [[nodiscard]] model::Model* draft_model() { return draft_model_ ? &*draft_model_ : nullptr; }
  /// Of this model on this device.
  [[nodiscard]] const PassSize& pass_size() const { return pass_size_; }
  /// Submits a recorded pass through a prompt, waits for its end, so that what is in flight stays bounded, and lets
  /// pass_size() know what it took. Errors: kOutOfMemory, kDevice.
  Status run_pass(gpu::Recorder& recorder, uint32_t tokens, uint32_t position);
  /// Lets pass_size() know what a pass took that run_pass() did not run.
  void observe_pass(uint32_t tokens, uint32_t position, double seconds);
  /// Only with EngineOptions::needs_tokenizer, or where the model has one.
  [[nodiscard]] const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  [[nodiscard]] const model::ModelConfig& config() const { return config_; }
  /// Positions of one text at most.
  [[nodiscard]] uint32_t max_context() const { return max_context_; }
  [[nodiscard]] const model::GenerationDefaults& defaults() const { return defaults_; }
  [[nodiscard]] const DraftOptions& draft() const { return options_.draft; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] double load_seconds() const { return load_seconds_; }
  [[nodiscard]] uint64_t checkpoint_bytes() const { return checkpoint_bytes_; }
  [[nodiscard]] MemoryUse memory() const;

 private:
  Engine(gpu::Device device, EngineOptions options);
  Status load_model(const formats::Checkpoint& checkpoint);
  Status make_up_model();
  Status fit_and_load(const OpenedModel* opened);
  Status load_both(const OpenedModel* opened, const DraftFiles* draft);
  Result<std::unique_ptr<DraftFiles>> open_draft();
  void take_figures();

  EngineOptions options_;       // model: as it is run
  model::ModelOptions asked_;   // before it was fitted
  std::filesystem::path path_;  // empty: the weights are made up
  gpu::Device device_;
  model::Model model_;
  std::optional<model::Model> draft_model_;
  model::ModelConfig config_;
  uint32_t max_context_ = 0;
  PassSize pass_size_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  model::GenerationDefaults defaults_;
  double load_seconds_ = 0;
  uint64_t checkpoint_bytes_ = 0;
};

/// The tokens of a pass that verifies drafts, with the options that were asked for (ModelOptions::few_tokens); 0
/// without.
[[nodiscard]] uint32_t draft_rows(const EngineOptions& options);

/// A checked model whose weights have not been loaded: configuration, tensors, defaults.
struct OpenedModel {
  ModelFiles files;
  model::ModelConfig config;
  model::GenerationDefaults defaults;
};

/// How a model is run on a device: what the options leave open is chosen so that it fits into the device's memory
/// budget, or into the memory of a GPU that the model is larger than; else as the options say. Of the memory, so much
/// is left for others. Errors: kOutOfMemory where nothing fits, also in what the machine has beside the device; those
/// of model::plan.
Result<model::Fit> choose_fit(const gpu::Device& device, const model::ModelConfig& config,
                              const model::FormatsOfChoice& formats, const model::ModelOptions& options,
                              uint64_t left_bytes = 0);

/// The formats of an opened model's matrices, which must live as long.
[[nodiscard]] model::FormatsOfChoice formats_of(const OpenedModel& opened);

/// Opens a folder or a GGUF file, maps its configuration and checks its tensors.
Result<OpenedModel> open_model(const std::filesystem::path& path);

}  // namespace cria::engine
