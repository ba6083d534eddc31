#include "cli/bench_drafts.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/streams.h"
#include "engine/draft_bench.h"
#include "model/shapes.h"

namespace cria::cli {
namespace {

/// A model's folder or file, a shape of made-up weights, or `lookup`.
Result<engine::DraftOptions> draft_options(const BenchDraftFlags& flags, bool is_made_up) {
  if (flags.source != "lookup" && is_made_up) {
    engine::DraftOptions options{.source = engine::DraftSource::kModel, .tokens = flags.tokens};
    CRIA_TRY_ASSIGN(options.made_up, model::parse_shape(flags.source));
    return options;
  }
  return DraftFlags{.source = flags.source, .tokens = flags.tokens}.options();
}

using Tokenize = std::function<Result<std::vector<uint32_t>>(std::string_view)>;

/// The text of two files, or a draft that comes true so often.
Result<std::vector<engine::DraftScript>> scripts_of(const BenchDraftFlags& flags, const BenchDraftSetup& setup,
                                                    const Tokenize& tokenize) {
  std::vector<engine::DraftScript> scripts;
  if (!flags.replay.empty()) {
    engine::DraftScript& script = scripts.emplace_back();
    CRIA_TRY_ASSIGN(const std::string prompt, read_text_file(flags.replay[0]));
    CRIA_TRY_ASSIGN(const std::string answer, read_text_file(flags.replay[1]));
    CRIA_TRY_ASSIGN(script.prompt, tokenize(prompt));
    CRIA_TRY_ASSIGN(script.answer, tokenize(answer));
    if (script.prompt.empty() || script.answer.empty()) {
      return fail(ErrorCode::kInvalidInput, "--draft-replay needs two files that are not empty");
    }
    script.tokens = static_cast<uint32_t>(script.answer.size());
    script.name = fmt::format("replay of {} tokens behind {}", script.tokens, script.prompt.size());
    return scripts;
  }
  for (const uint32_t accepted : flags.accepted) {
    engine::DraftScript& script = scripts.emplace_back();
    script.prompt.assign(setup.depth + 1, 1);
    script.accepted_percent = accepted;
    script.tokens = setup.gen_tokens;
    script.name = fmt::format("tg{}, {} % accepted", setup.gen_tokens, accepted);
  }
  return scripts;
}

Json result_json(const engine::DraftScript& script, const engine::DraftBenchResult& result) {
  return {{"test", script.name},
          {"tokens", script.tokens},
          {"plain_tokens_per_second", result.plain_speed(script)},
          {"tokens_per_second", result.speed(script)},
          {"gain", result.speed(script) / result.plain_speed(script)},
          {"drafted_tokens", result.drafted_tokens},
          {"accepted_tokens", result.accepted_tokens},
          {"passes", result.passes}};
}

void print_row(const std::string& weights, const engine::DraftScript& script, const engine::DraftBenchResult& result) {
  fmt::print("| {} | {} | {:.1f} | {:.1f} | {:.2f} | {} | {} | {:.2f} |\n", weights, script.name,
             result.plain_speed(script), result.speed(script), result.speed(script) / result.plain_speed(script),
             result.drafted_tokens, result.accepted_tokens, static_cast<double>(script.tokens) / result.passes);
  std::fflush(stdout);
}

}  // namespace

void BenchDraftFlags::add_to(CLI::App& command) {
  command
      .add_option("--draft", source,
                  "Measure what drafts give: of lookup, of another model, or with --shape of another shape")
      ->capture_default_str()
      ->type_name("MODEL|SHAPE|lookup|off");
  command.add_option("--draft-tokens", tokens, "Tokens of a draft at most")
      ->check(number_from(1U, engine::kMaxDraftTokens))
      ->capture_default_str();
  command
      .add_option("--draft-replay", replay,
                  "Two files, a prompt and an answer: the model is taken to say the answer, whatever it draws")
      ->expected(2)
      ->type_name("FILE FILE");
  command
      .add_option("--draft-accepted", accepted,
                  "Without a replay: shares of the drafts that are taken to come true, in %")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0U, 100U))
      ->capture_default_str()
      ->type_name("LIST");
}

Status bench_drafts(const BenchDraftFlags& flags, const BenchDraftSetup& setup, engine::EngineOptions options) {
  const bool is_made_up = setup.folder.empty();
  CRIA_TRY_ASSIGN(options.draft, draft_options(flags, is_made_up));
  if (options.draft.source == engine::DraftSource::kLookup && flags.replay.empty()) {
    return fail(ErrorCode::kInvalidInput, "--draft lookup needs --draft-replay: only a text has something to look up");
  }
  if (setup.format == "csv") return fail(ErrorCode::kInvalidInput, "drafts are told as md or json, not csv");
  if (setup.gen_tokens == 0) return fail(ErrorCode::kInvalidInput, "--gen-tokens leaves nothing to measure");
  Json results = Json::array();
  for (const std::string& weights : setup.weights) {
    CRIA_TRY_ASSIGN(options.model.weights.precision, model::parse_precision(weights));
    if (is_made_up && weights == "auto") options.model.weights.precision = model::Precision::kF16;
    options.needs_tokenizer = !is_made_up && !flags.replay.empty();
    // Of the scripts only those that are read from files have a length that is not known before the tokenizer is.
    if (flags.replay.empty()) options.model.max_context = setup.depth + 1 + setup.gen_tokens;
    CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, is_made_up
                                                                      ? engine::Engine::make_up(setup.config, options)
                                                                      : engine::Engine::load(setup.folder, options));
    const auto tokenize = [&](std::string_view text) -> Result<std::vector<uint32_t>> {
      if (is_made_up) return engine::made_up_tokens(text, setup.config.vocab_size);
      return engine->tokenizer().encode(text, {.add_special_tokens = false});
    };
    CRIA_TRY_ASSIGN(const auto scripts, scripts_of(flags, setup, tokenize));
    CRIA_TRY_ASSIGN(engine::DraftBench bench, engine::DraftBench::create(*engine));
    if (setup.format == "md") {
      fmt::print(
          "{}\n\n| weights | test | plain tokens/s | tokens/s | gain | drafted | accepted | tokens per pass |\n"
          "|---|---|--:|--:|--:|--:|--:|--:|\n",
          engine->device().info().name);
    }
    for (const engine::DraftScript& script : scripts) {
      CRIA_TRY_ASSIGN(const engine::DraftBenchResult result, bench.measure(script, setup.repetitions));
      const std::string shown(model::precision_name(options.model.weights.precision));
      if (setup.format == "md") print_row(shown, script, result);
      results.push_back(result_json(script, result));
      results.back()["weights"] = shown;
    }
  }
  return setup.format == "json" ? write_json({{"draft", flags.source}, {"results", results}}) : Status();
}

}  // namespace cria::cli
