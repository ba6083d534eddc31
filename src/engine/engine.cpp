#include "engine/engine.h"

#include <algorithm>
#include <bit>

#include "base/clock.h"
#include "base/log.h"
#include "base/platform.h"
#include "base/progress.h"
#include "engine/draft_files.h"
#include "model/synthetic.h"

namespace cria::engine {

Result<OpenedModel> open_model(const std::filesystem::path& path) {
  CRIA_TRY_ASSIGN(ModelFiles files, ModelFiles::open(path));
  CRIA_TRY_ASSIGN(model::ModelConfig config, files.config());
  CRIA_TRY_ASSIGN(model::GenerationDefaults defaults, files.defaults(config));
  if (auto status = model::check_tensors(model::weight_table(config), files.checkpoint()); !status) {
    return std::unexpected(std::move(status).error().while_doing(fmt::format("checking {}", path.string())));
  }
  return OpenedModel{std::move(files), std::move(config), std::move(defaults)};
}

namespace {

/// Says where the context is not what the user, or the model, might expect.
void warn_about_context(Engine& engine) {
  const model::MemoryPlan& plan = engine.model().memory_plan();
  if (plan.context_limited_by_binding) {
    log::warning("the context is limited to {} positions: {} binds at most {} bytes at once", plan.max_context,
                 engine.device().info().name, with_commas(engine.device().limits().max_binding_bytes));
  }
  const model::ModelConfig& config = engine.config();
  if (plan.max_context > config.max_position_embeddings && config.rope.scaling != model::RopeScaling::kDynamic) {
    log::warning("the model was made for {} positions: beyond them its text may make no sense",
                 config.max_position_embeddings);
  }
}

}  // namespace

/// As many as narrow tiles of matrix units take anyway, and twice the texts.
uint32_t draft_rows(const EngineOptions& options) {
  if (options.draft.source == DraftSource::kOff) return 0;
  constexpr uint32_t kMostRows = kMaxDraftTokens + 1;
  return std::min(std::max(std::bit_ceil(options.draft.tokens + 1), 2 * std::bit_ceil(options.model.slots)), kMostRows);
}

model::FormatsOfChoice formats_of(const OpenedModel& opened) {
  return [&checkpoint = opened.files.checkpoint()](const model::WeightChoice& choice) {
    return model::formats_from(checkpoint, choice);
  };
}

Result<model::Fit> choose_fit(const gpu::Device& device, const model::ModelConfig& config,
                              const model::FormatsOfChoice& formats, const model::ModelOptions& options,
                              uint64_t left_bytes) {
  const gpu::DeviceInfo& info = device.info();
  CRIA_TRY_ASSIGN(model::MemoryPlan plan,
                  model::plan(info.limits, info.is_software(), config, formats(options.weights), options));
  model::FitRequest request{.limits = info.limits,
                            .is_software = info.is_software(),
                            .config = config,
                            .formats = formats,
                            .budget = device.memory_budget()};
  if (request.budget == 0) {
    if (info.local_memory_bytes == 0 || info.is_software()) return model::Fit{options, std::move(plan)};
    request.budget = info.local_memory_bytes - std::min(left_bytes, info.local_memory_bytes);
    const bool fits = plan.weight_bytes + plan.scratch_bytes + plan.working_bytes <= request.budget;
    if (fits) return model::with_large_passes(request, {options, std::move(plan)});
    request.budget = info.local_memory_bytes / 10 * 9;
  }
  if (left_bytes >= request.budget) {
    return fail(ErrorCode::kOutOfMemory, "the model that drafts takes {} bytes, which leaves nothing of {}",
                with_commas(left_bytes), with_commas(request.budget));
  }
  request.budget -= left_bytes;
  CRIA_TRY_ASSIGN(model::Fit chosen, model::fit(request, options));
  const uint64_t host_bytes = chosen.plan.host_weight_bytes + chosen.plan.host_kv_bytes;
  const uint64_t machine_bytes = platform::physical_memory_bytes();
  if (machine_bytes != 0 && host_bytes > machine_bytes) {
    return fail(ErrorCode::kOutOfMemory,
                "{} bytes of layers would have to lie in memory of the host, which has {}: take smaller weights",
                with_commas(host_bytes), with_commas(machine_bytes));
  }
  return chosen;
}

namespace {

/// Says what a budget, or a GPU that is too small, made of the options.
void note_fit(const model::Fit& fit, const model::ModelOptions& asked, const gpu::DeviceInfo& info) {
  const model::MemoryPlan& plan = fit.plan;
  const bool is_streamed = plan.streamed_layers > 0 || plan.streamed_kv > 0;
  if (fit.options.weights.precision == asked.weights.precision && fit.options.max_context == asked.max_context &&
      fit.options.kv == asked.kv && !is_streamed) {
    return;
  }
  log::info("to fit into memory: weights {}, {} positions of context, KV cache in {}, {} tokens at once: {} of {}",
            model::precision_name(fit.options.weights.precision), with_commas(plan.max_context),
            kernels::kv_type_name(plan.kv_type), plan.max_batch_tokens, human_bytes(plan.total_bytes()), info.name);
  if (!is_streamed) return;
  log::warning("slow: the weights of {} layers and the keys and values of {} lie in memory of the host ({})",
               plan.streamed_layers, plan.streamed_kv, human_bytes(plan.host_weight_bytes + plan.host_kv_bytes));
}

}  // namespace

Status Engine::load_model(const formats::Checkpoint& checkpoint) {
  ProgressBar bar("loading", checkpoint_bytes_, options_.show_progress);
  auto model =
      model::Model::load(device_, checkpoint, config_, options_.model, [&](uint64_t bytes) { bar.advance(bytes); });
  if (!model) return std::unexpected(std::move(model).error().while_doing(fmt::format("loading {}", path_.string())));
  model_ = *std::move(model);
  return {};
}

Status Engine::make_up_model() {
  auto model = model::Model::make_up(device_, config_, options_.model);
  if (!model) return std::unexpected(std::move(model).error().while_doing("making up weights"));
  model_ = *std::move(model);
  return {};
}

Engine::Engine(gpu::Device device, EngineOptions options) : options_(std::move(options)), device_(std::move(device)) {
  options_.model.few_tokens = draft_rows(options_);
  asked_ = options_.model;
}

/// What a loaded model says of itself.
void Engine::take_figures() {
  max_context_ = model_.memory_plan().max_context;
  pass_size_ = PassSize(config_, model_.max_batch_tokens());
}

/// The files of the model that drafts; nullptr where there is none.
Result<std::unique_ptr<DraftFiles>> Engine::open_draft() {
  if (options_.draft.source != DraftSource::kModel) return nullptr;
  CRIA_TRY_ASSIGN(DraftFiles files, DraftFiles::open(device_, options_.draft, asked_, config_, tokenizer_.get()));
  return std::make_unique<DraftFiles>(std::move(files));
}

/// Loads a model from its files, or makes one up, and the one that drafts for it.
Status Engine::load_both(const OpenedModel* opened, const DraftFiles* draft) {
  CRIA_TRY(opened != nullptr ? load_model(opened->files.checkpoint()) : make_up_model());
  if (draft == nullptr) return {};
  auto loaded = draft->load(device_);
  if (!loaded) return std::unexpected(std::move(loaded).error().while_doing("loading the model that drafts"));
  draft_model_ = *std::move(loaded);
  return {};
}

Status Engine::fit_and_load(const OpenedModel* opened) {
  CRIA_TRY_ASSIGN(const std::unique_ptr<DraftFiles> draft, open_draft());
  const model::FormatsOfChoice formats = opened != nullptr ? formats_of(*opened) : model::made_up_formats;
  CRIA_TRY_ASSIGN(const model::Fit fit,
                  choose_fit(device_, config_, formats, asked_, draft ? draft->total_bytes() : 0));
  note_fit(fit, asked_, device_.info());
  options_.model = fit.options;
  CRIA_TRY(load_both(opened, draft.get()));
  take_figures();
  return {};
}

Result<std::unique_ptr<Engine>> Engine::load(const std::filesystem::path& path, const EngineOptions& options) {
  const auto start = Clock::now();
  CRIA_TRY_ASSIGN(OpenedModel opened, open_model(path));
  std::unique_ptr<text::Tokenizer> tokenizer;
  if (options.needs_tokenizer || opened.files.has_tokenizer()) {
    CRIA_TRY_ASSIGN(text::Tokenizer read, opened.files.tokenizer());
    tokenizer = std::make_unique<text::Tokenizer>(std::move(read));
  }
  CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options.device));
  std::unique_ptr<Engine> engine(new Engine(std::move(device), options));
  engine->path_ = path;
  engine->config_ = std::move(opened.config);
  engine->defaults_ = std::move(opened.defaults);
  engine->tokenizer_ = std::move(tokenizer);
  const formats::Checkpoint& checkpoint = opened.files.checkpoint();
  for (const std::string& name : checkpoint.names()) {
    engine->checkpoint_bytes_ += checkpoint.find(name)->data.size();
  }
  CRIA_TRY(engine->fit_and_load(&opened));
  warn_about_context(*engine);
  engine->load_seconds_ = seconds_since(start);
  return engine;
}

Result<std::unique_ptr<Engine>> Engine::make_up(const model::ModelConfig& config, const EngineOptions& options) {
  const auto start = Clock::now();
  CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options.device));
  std::unique_ptr<Engine> engine(new Engine(std::move(device), options));
  engine->config_ = config;
  CRIA_TRY(engine->fit_and_load(nullptr));
  engine->load_seconds_ = seconds_since(start);
  return engine;
}

Status Engine::reload() {
  model_ = {};  // before there is another one: the memory may not hold both
  draft_model_.reset();
  CRIA_TRY_ASSIGN(device_, gpu::Device::open(options_.device));
  CRIA_TRY_ASSIGN(const std::unique_ptr<DraftFiles> draft, open_draft());
  if (path_.empty()) {
    CRIA_TRY(load_both(nullptr, draft.get()));
  } else {
    CRIA_TRY_ASSIGN(const OpenedModel opened, open_model(path_));
    if (opened.config != config_) {
      return fail(ErrorCode::kUnsupported, "{}: is another model than the one that was loaded before", path_.string());
    }
    CRIA_TRY(load_both(&opened, draft.get()));
  }
  if (const uint32_t context = model_.memory_plan().max_context; context != max_context_) {
    model_ = {};
    return fail(ErrorCode::kUnsupported, "{}: the device opened again has room for a context of {}, and before of {}",
                device_.info().name, with_commas(context), with_commas(max_context_));
  }
  take_figures();
  return {};
}

Status Engine::run_pass(gpu::Recorder& recorder, uint32_t tokens, uint32_t position) {
  const auto start = Clock::now();
  CRIA_TRY(recorder.submit());
  CRIA_TRY(device_.wait_idle());
  observe_pass(tokens, position, seconds_since(start));
  return {};
}

void Engine::observe_pass(uint32_t tokens, uint32_t position, double seconds) {
  pass_size_.observe(tokens, position, seconds);
}

MemoryUse Engine::memory() const {
  return {.weight_bytes = device_.memory_bytes(gpu::MemoryKind::kWeights),
          .kv_bytes = device_.memory_bytes(gpu::MemoryKind::kKv),
          .scratch_bytes = device_.memory_bytes(gpu::MemoryKind::kScratch)};
}

}  // namespace cria::engine
