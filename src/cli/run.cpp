// `cria run`: continue a prompt, streaming the text to stdout and everything else to stderr.
#include <cstdio>
#include <optional>

#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/reading_bar.h"
#include "cli/report.h"
#include "cli/streams.h"
#include "engine/defaults.h"
#include "engine/draft_files.h"
#include "engine/sequence.h"

namespace cria::cli {
namespace {

struct RunFlags {
  ModelFlags model;
  DeviceFlags device;
  std::optional<std::string> prompt;
  std::string prompt_file;
  uint32_t max_tokens = 256;
  engine::SamplingChoice sampling;
  GrammarFlags grammar;
  DraftFlags draft;
  bool profile = false;
  bool json = false;
  bool ignore_eos = false;
  bool no_special = false;
  bool dry_run_fit = false;
};

void add_flags(CLI::App& command, RunFlags& flags) {
  flags.model.add_to(command);
  command.add_option("-p,--prompt", flags.prompt, "Text to continue; by default read from a pipe")->type_name("TEXT");
  command.add_option("--prompt-file", flags.prompt_file, "File with the text to continue")->type_name("FILE");
  command.add_option("-n,--max-tokens", flags.max_tokens, "Tokens to generate at most")
      ->check(number_from(0U, UINT32_MAX))
      ->capture_default_str();
  add_sampling_to(command, flags.sampling);
  flags.grammar.add_to(command);
  flags.draft.add_to(command);
  command.add_flag("--ignore-eos", flags.ignore_eos, "Go on after the model has ended its text");
  command.add_flag("--no-special-tokens", flags.no_special,
                   "Do not put the tokenizer's special tokens around the prompt");
  command.add_flag("--profile", flags.profile, "Add a table of GPU time per kernel");
  command.add_flag("--json", flags.json, "Print text and figures as one JSON object on stdout");
  command.add_flag("--dry-run-fit", flags.dry_run_fit, "Only print the memory that the run would need");
  flags.device.add_to(command);
}

Result<std::string> read_prompt(const RunFlags& flags) {
  if (flags.prompt && !flags.prompt_file.empty()) {
    return fail(ErrorCode::kInvalidInput, "--prompt and --prompt-file were both given: one of them is enough");
  }
  if (flags.prompt) return *flags.prompt;
  if (!flags.prompt_file.empty()) return read_text_file(flags.prompt_file);
  if (platform::stdin_is_terminal()) {
    return fail(ErrorCode::kInvalidInput,
                "there is no prompt: give --prompt TEXT or --prompt-file FILE, or pipe it in");
  }
  return read_input();
}

Status print_fit(const RunFlags& flags, const std::filesystem::path& path, const engine::EngineOptions& options) {
  CRIA_TRY_ASSIGN(const engine::OpenedModel opened, engine::open_model(path));
  CRIA_TRY_ASSIGN(const gpu::Device device, gpu::Device::open(options.device));
  model::ModelOptions asked = options.model;
  asked.few_tokens = engine::draft_rows(options);
  uint64_t draft_bytes = 0;
  if (options.draft.source == engine::DraftSource::kModel) {
    CRIA_TRY_ASSIGN(const text::Tokenizer tokenizer, opened.files.tokenizer());
    CRIA_TRY_ASSIGN(const auto draft,
                    engine::DraftFiles::open(device, options.draft, asked, opened.config, &tokenizer));
    draft_bytes = draft.total_bytes();
  }
  CRIA_TRY_ASSIGN(const model::Fit fit,
                  engine::choose_fit(device, opened.config, engine::formats_of(opened), asked, draft_bytes));
  if (flags.json) {
    Json report = fit_json(fit);
    if (draft_bytes > 0) report["draft_bytes"] = draft_bytes;
    return write_json(report);
  }
  return write_output(fit_text(fit, device, draft_bytes));
}

/// The text on its way out: streamed to stdout, the prompt first, or only collected (for JSON).
class TextSink {
 public:
  TextSink(const text::Tokenizer& tokenizer, bool stream)
      : decoder_(tokenizer, /*skip_special_tokens=*/true), stream_(stream) {}

  /// The prompt goes through the decoder too, so that the text goes on where the prompt ends.
  Status begin(const std::string& prompt, const std::vector<uint32_t>& tokens) {
    for (const uint32_t token : tokens) CRIA_TRY(decoder_.push(token));
    decoder_.pause();
    return stream_ ? write_output(prompt) : Status();
  }
  Status add(text::TokenId token) {
    CRIA_TRY_ASSIGN(const std::string piece, decoder_.push(token));
    return emit(piece);
  }
  /// Ends the line too, so that what stderr says next stands on its own.
  Status end() { return emit(decoder_.pause() + (stream_ ? "\n" : "")); }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Status emit(const std::string& piece) {
    text_ += piece;
    return stream_ && !piece.empty() ? write_output(piece) : Status();
  }

  text::StreamDecoder decoder_;
  bool stream_;
  std::string text_;
};

Result<engine::GenerationStats> generate(engine::Sequence& sequence, const std::vector<uint32_t>& prompt,
                                         const engine::GenerateOptions& options, TextSink& sink) {
  Status written;
  auto stats = sequence.generate(prompt, options, [&](text::TokenId token) {
    written = sink.add(token);
    return written.has_value();
  });
  CRIA_TRY(written);
  const Status ended = sink.end();
  if (stats) CRIA_TRY(ended);
  return stats;
}

/// Continues the prompt and reports.
Status continue_prompt(const RunFlags& flags, engine::Engine& engine, const std::string& prompt,
                       std::shared_ptr<const grammar::Grammar> grammar) {
  engine::GenerateOptions generation;
  generation.grammar = std::move(grammar);
  generation.sampling = engine::resolve_sampling(flags.sampling, engine.defaults());
  generation.max_tokens = flags.max_tokens;
  generation.profile = flags.profile;
  if (flags.profile && !engine.device().features().timestamps) {
    log::warning("{} has no timestamps: there is no profile", engine.device().info().name);
  }
  if (!flags.ignore_eos) generation.stop_tokens = engine::stop_tokens(engine.config(), engine.defaults());
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> tokens,
                  engine.tokenizer().encode(prompt, {.add_special_tokens = !flags.no_special}));
  CRIA_TRY_ASSIGN(engine::Sequence sequence, engine::Sequence::create(engine));
  CRIA_TRY(sequence.check_prompt(tokens));
  platform::catch_interrupts();
  TextSink sink(engine.tokenizer(), !flags.json);
  ReadingBar bar;
  const bool is_long = tokens.size() > engine.pass_size().tokens(0);
  Status begun = is_long ? Status() : sink.begin(prompt, tokens);
  if (is_long) {
    generation.on_read = [&](uint32_t read, uint32_t total) {  // the text begins where the bar was
      bar.show(read, total);
      if (read == total) begun = sink.begin(prompt, tokens);
    };
  }
  CRIA_TRY_ASSIGN(const engine::GenerationStats stats, generate(sequence, tokens, generation, sink));
  CRIA_TRY(begun);
  if (!flags.json) {
    std::fputs(stats_text(engine, stats).c_str(), stderr);
    return {};
  }
  Json report = stats_json(engine, stats);
  report["prompt"] = prompt;
  report["text"] = sink.text();
  return write_json(report);
}

Status run(const RunFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  CRIA_TRY_ASSIGN(options.draft, flags.draft.options());
  options.show_progress = platform::stderr_is_terminal();
  options.needs_tokenizer = true;
  CRIA_TRY(engine::validate(engine::resolve_sampling(flags.sampling, {})));  // before anything takes time
  CRIA_TRY_ASSIGN(auto grammar, flags.grammar.read());
  if (flags.dry_run_fit) return print_fit(flags, path, options);

  CRIA_TRY_ASSIGN(const std::string prompt, read_prompt(flags));
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(path, options));
  note_software_device(engine->device().info());
  return continue_prompt(flags, *engine, prompt, std::move(grammar));
}

}  // namespace

void add_run(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("run", "Continue a prompt with a model");
  auto flags = std::make_shared<RunFlags>();
  add_flags(*command, *flags);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
