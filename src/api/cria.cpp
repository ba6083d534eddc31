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
  result.device.validates = false;
  CRIA_TRY_ASSIGN(result.device.disabled, gpu::parse_features(options.disabled_features));
  CRIA_TRY_ASSIGN(result.model.weights.precision, model::parse_precision(options.weights));
  CRIA_TRY_ASSIGN(result.model.kv, model::parse_kv_type(options.kv_type));
  result.model.max_context = options.max_context;
  result.needs_tokenizer = true;
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

  /// Tokens of a text that can be read next; special tokens stand only at the very begin.
  Result<std::vector<uint32_t>> encode(std::string_view text) const {
    CRIA_TRY_ASSIGN(std::vector<uint32_t> tokens,
                    engine->tokenizer().encode(text, {.add_special_tokens = sequence.tokens().empty()}));
    CRIA_TRY(sequence.check_prompt(tokens));
    return tokens;
  }

  /// Takes the tokens into the decoder, so that what follows goes on where they end.
  Status pass(const std::vector<uint32_t>& tokens) {
    for (const uint32_t token : tokens) CRIA_TRY(decoder.push(token));
    decoder.pause();
    return {};
  }

  /// Generates, with the text handed to `on_text` as it becomes certain.
  Result<engine::GenerationStats> generate(const std::vector<uint32_t>& prompt, const engine::GenerateOptions& options,
                                           const TextCallback& on_text) {
    Status decoded;
    const auto hand_over = [&](const std::string& piece) { return piece.empty() || !on_text || on_text(piece); };
    auto stats = sequence.generate(prompt, options, [&](text::TokenId token) {
      auto piece = decoder.push(token);
      if (!piece) decoded = std::unexpected(std::move(piece).error());
      return decoded && hand_over(*piece);
    });
    const std::string rest = decoder.pause();
    if (stats && stats->stop_reason != engine::StopReason::kInterrupted) hand_over(rest);
    CRIA_TRY(decoded);
    return stats;
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
                                                  .presence_penalty = options.presence_penalty,
                                                  .frequency_penalty = options.frequency_penalty,
                                                  .top_k = options.top_k,
                                                  .seed = options.seed},
                                                 defaults);
  generation.stop_tokens = engine::stop_tokens(impl_->engine->config(), defaults);
  if (auto passed = impl_->pass(*prompt); !passed) return failure(passed.error());
  auto stats = impl_->generate(*prompt, generation, on_text);
  if (!stats) return failure(stats.error());
  return GenerateResult{.prompt_tokens = stats->prompt_tokens,
                        .generated_tokens = stats->generated_tokens,
                        .stop_reason = std::string(engine::stop_reason_name(stats->stop_reason)),
                        .seed = stats->seed};
}

Expected<std::vector<float>> Session::logits(std::string_view text) {
  auto tokens = impl_->encode(text);
  if (!tokens) return failure(tokens.error());
  if (auto passed = impl_->pass(*tokens); !passed) return failure(passed.error());
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
