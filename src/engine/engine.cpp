#include "engine/engine.h"

#include <chrono>

#include "base/log.h"
#include "base/platform.h"
#include "base/progress.h"

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

Result<std::unique_ptr<Engine>> Engine::load(const std::filesystem::path& path, const EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  CRIA_TRY_ASSIGN(OpenedModel opened, open_model(path));
  std::unique_ptr<text::Tokenizer> tokenizer;
  if (options.needs_tokenizer || opened.files.has_tokenizer()) {
    CRIA_TRY_ASSIGN(text::Tokenizer read, opened.files.tokenizer());
    tokenizer = std::make_unique<text::Tokenizer>(std::move(read));
  }
  CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options.device));
  std::unique_ptr<Engine> engine(new Engine(std::move(device)));
  engine->path_ = path;
  engine->defaults_ = std::move(opened.defaults);
  engine->tokenizer_ = std::move(tokenizer);
  const formats::Checkpoint& checkpoint = opened.files.checkpoint();
  for (const std::string& name : checkpoint.names()) {
    engine->checkpoint_bytes_ += checkpoint.find(name)->data.size();
  }
  {
    ProgressBar bar("loading", engine->checkpoint_bytes_, options.show_progress);
    auto model = model::Model::load(engine->device_, checkpoint, opened.config, options.model,
                                    [&](uint64_t bytes) { bar.advance(bytes); });
    if (!model) {
      return std::unexpected(std::move(model).error().while_doing(fmt::format("loading {}", path.string())));
    }
    engine->model_ = *std::move(model);
  }
  engine->pass_size_ = PassSize(engine->config(), engine->model_.max_batch_tokens());
  warn_about_context(*engine);
  engine->load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return engine;
}

Result<std::unique_ptr<Engine>> Engine::make_up(const model::ModelConfig& config, const EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options.device));
  std::unique_ptr<Engine> engine(new Engine(std::move(device)));
  auto model = model::Model::make_up(engine->device_, config, options.model);
  if (!model) return std::unexpected(std::move(model).error().while_doing("making up weights"));
  engine->model_ = *std::move(model);
  engine->pass_size_ = PassSize(config, engine->model_.max_batch_tokens());
  engine->load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return engine;
}

Status Engine::run_pass(gpu::Recorder& recorder, uint32_t tokens, uint32_t position) {
  const auto start = std::chrono::steady_clock::now();
  CRIA_TRY(recorder.submit());
  CRIA_TRY(device_.wait_idle());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  pass_size_.observe(tokens, position, taken.count());
  return {};
}

MemoryUse Engine::memory() const {
  return {.weight_bytes = device_.memory_bytes(gpu::MemoryKind::kWeights),
          .kv_bytes = device_.memory_bytes(gpu::MemoryKind::kKv),
          .scratch_bytes = device_.memory_bytes(gpu::MemoryKind::kScratch)};
}

}  // namespace cria::engine
