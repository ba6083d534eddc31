// `cria perplexity`: how well a model predicts a text.
#include "engine/perplexity.h"
#include "base/log.h"
#include "base/platform.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

struct PerplexityFlags {
  ModelFlags model;
  DeviceFlags device;
  std::string file;
  uint32_t window = 512;
  uint32_t stride = 0;  ///< 0: the window
  bool json = false;
};

Status run(const PerplexityFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  CRIA_TRY_ASSIGN(const std::string text, read_text_file(flags.file));
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  options.show_progress = platform::stderr_is_terminal();
  options.needs_tokenizer = true;
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(path, options));
  note_software_device(engine->device().info());
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> tokens, engine->tokenizer().encode(text));
  const engine::PerplexityOptions windows = {.window = flags.window,
                                             .stride = flags.stride == 0 ? flags.window : flags.stride};
  platform::catch_interrupts();
  engine::Perplexity result;
  {
    ProgressBar bar("reading", tokens.size(), options.show_progress, ProgressUnit::kTokens);
    const auto on_progress = [&](uint64_t read) {
      bar.advance(read);
      return !platform::interrupted();
    };
    CRIA_TRY_ASSIGN(result, engine::perplexity(*engine, tokens, windows, on_progress));
  }
  if (flags.json) {
    return write_json({{"perplexity", result.value},
                       {"standard_error", result.standard_error},
                       {"predictions", result.predictions},
                       {"windows", result.windows},
                       {"window", windows.window},
                       {"stride", windows.stride},
                       {"tokens", tokens.size()},
                       {"interrupted", platform::interrupted()}});
  }
  return write_output(fmt::format("perplexity {:.4f} ± {:.4f} ({} predictions in {} windows of {}, stride {}{})\n",
                                  result.value, result.standard_error, with_commas(result.predictions), result.windows,
                                  windows.window, windows.stride, platform::interrupted() ? ", interrupted" : ""));
}

}  // namespace

void add_perplexity(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  auto flags = std::make_shared<PerplexityFlags>();
  flags->model.add_to(*command);
  command->add_option("--file", flags->file, "File with the text, UTF-8")->required()->type_name("FILE");
  command->add_option("--window", flags->window, "Tokens that the model sees at once")
      ->check(number_from(2U, 1U << 24U))
      ->capture_default_str();
  command->add_option("--stride", flags->stride, "Tokens from one window to the next; by default a whole window")
      ->check(number_from(1U, 1U << 24U))
      ->type_name("TOKENS");
  command->add_flag("--json", flags->json, "Print as JSON");
  flags->device.add_to(*command);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
