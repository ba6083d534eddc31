// The public API (include/cria/cria.h) on top of the engine.
#include "cria/cria.h"

#include "engine/defaults.h"
#include "engine/sequence.h"

namespace cria {
namespace {

std::unexpected<Failure> failure(const Error& error) { return std::unexpected(Failure{error.message()}); }

Result<engine::EngineOptions> engine_options(const LoadOptions& options) {
  engine::EngineOptions result;
  result.device.selector = options.device;
  CRIA_TRY_ASSIGN(result.device.disabled, gpu::parse_features(options.disabled_features));
  CRIA_TRY_ASSIGN(result.model.weights.precision, model::parse_precision(options.weights));
  CRIA_TRY_ASSIGN(result.model.kv, model::parse_kv_type(options.kv_type));
  result.model.max_context = options.max_context;
  return result;
}

}  // namespace

struct Model::Impl {
  std::unique_ptr<engine::Engine> engine;
};

struct Session::Impl {
  engine::Engine* engine = nullptr;
  engine::Sequence sequence;
  text::StreamDecoder decoder;

  /// Tokens of a text; special tokens stand only at the very begin.
  Result<std::vector<uint32_t>> encode(std::string_view text) const {
    return engine->tokenizer().encode(text, {.add_special_tokens = sequence.tokens().empty()});
  }
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Expected<Model> Model::load(const std::filesystem::path& path, const LoadOptions& options) {
  auto parsed = engine_options(options);
  if (!parsed) return failure(parsed.error());
  auto engine = engine::Engine::load(path, *parsed);
  if (!engine) return failure(engine.error());
  if (!(*engine)->has_tokenizer()) return std::unexpected(Failure{path.string() + ": has no tokenizer.json"});
  return Model(std::make_unique<Impl>(Impl{*std::move(engine)}));
}

uint32_t Model::vocab_size() const { return impl_->engine->config().vocab_size; }
uint32_t Model::max_context() const { return impl_->engine->model().kv_cache().max_context(); }
std::string Model::device_name() const { return impl_->engine->device().info().name; }

Expected<Session> Model::create_session() {
  engine::Engine& engine = *impl_->engine;
  auto sequence = engine::Sequence::create(engine);
  if (!sequence) return failure(sequence.error());
  if (auto status = sequence->clear(); !status) return failure(status.error());
  return Session(std::make_unique<Session::Impl>(
      Session::Impl{&engine, *std::move(sequence), text::StreamDecoder(engine.tokenizer(), true)}));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Expected<GenerateResult> Session::generate(std::string_view text, const GenerateOptions& options,
                                           const TextCallback& on_text) {
  auto prompt = impl_->encode(text);
  if (!prompt) return failure(prompt.error());
  const model::GenerationDefaults& defaults = impl_->engine->defaults();
  engine::GenerateOptions generation;
  generation.max_tokens = options.max_tokens;
  generation.sampling = engine::resolve_sampling({.temperature = options.temperature,
                                                  .top_p = options.top_p,
                                                  .min_p = options.min_p,
                                                  .repetition_penalty = options.repetition_penalty,
                                                  .top_k = options.top_k,
                                                  .seed = options.seed},
                                                 defaults);
  generation.stop_tokens = engine::stop_tokens(impl_->engine->config(), defaults);
  for (const uint32_t token : *prompt) {
    if (auto piece = impl_->decoder.push(token); !piece) return failure(piece.error());
  }
  Status decoded;
  auto stats = impl_->sequence.generate(*prompt, generation, [&](text::TokenId token) {
    auto piece = impl_->decoder.push(token);
    if (!piece) {
      decoded = std::unexpected(std::move(piece).error());
      return false;
    }
    return piece->empty() || on_text(*piece);
  });
  if (!stats) return failure(stats.error());
  if (!decoded) return failure(decoded.error());
  return GenerateResult{.prompt_tokens = stats->prompt_tokens,
                        .generated_tokens = stats->generated_tokens,
                        .stop_reason = std::string(engine::stop_reason_name(stats->stop_reason)),
                        .seed = stats->seed};
}

Expected<std::vector<float>> Session::logits(std::string_view text) {
  auto tokens = impl_->encode(text);
  if (!tokens) return failure(tokens.error());
  auto rows = impl_->sequence.read_logits(*tokens, 1);
  if (!rows) return failure(rows.error());
  return std::move(rows->front());
}

Expected<void> Session::clear() {
  impl_->decoder = text::StreamDecoder(impl_->engine->tokenizer(), true);
  if (auto status = impl_->sequence.clear(); !status) return failure(status.error());
  return {};
}

}  // namespace cria
