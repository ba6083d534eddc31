// The program `cria`: reads the command line and runs one subcommand.
//
// Exit codes: 0 success, 2 anything that the user or the environment can put right (a flag, a file, a
// prompt, a device), with one sentence on stderr.
#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"

namespace {

constexpr int kFailure = 2;

int run(int argc, char** argv) {
  CLI::App app("Cria runs Llama-family language models on any GPU, in WGSL compute shaders.", "cria");
  app.set_version_flag("--version", "cria " CRIA_VERSION);
  app.require_subcommand(0, 1);  // that there is one is checked below, where the message can name them
  bool quiet = false;
  bool verbose = false;
  app.add_flag("--quiet", quiet, "Print errors only");
  app.add_flag("--verbose", verbose, "Print what is being done");
  cria::cli::Command command;
  cria::cli::add_run(app, command);
  cria::cli::add_chat(app, command);
  cria::cli::add_serve(app, command);
  cria::cli::add_devices(app, command);
  cria::cli::add_inspect(app, command);
  cria::cli::add_tokenize(app, command);
  cria::cli::add_selftest(app, command);
  cria::cli::add_bench(app, command);
  cria::cli::add_perplexity(app, command);
  cria::cli::add_quantize(app, command);
  for (CLI::App* subcommand : app.get_subcommands({})) subcommand->fallthrough();  // --quiet may come behind it too
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help or the version was asked for
    cria::log::error("{} (see cria --help)", error.what());
    return kFailure;
  }
  if (!command) {
    std::string names;
    for (const CLI::App* known : app.get_subcommands({})) names += (names.empty() ? "" : ", ") + known->get_name();
    cria::log::error("no command was given; the commands are {} (see cria --help)", names);
    return kFailure;
  }
  if (quiet) cria::log::set_level(cria::log::Level::kError);
  if (verbose) cria::log::set_level(cria::log::Level::kDebug);
  const cria::Status status = command();
  if (status) return 0;
  cria::log::error("{}", status.error().message());
  return kFailure;
}

}  // namespace

int main(int argc, char** argv) {
  cria::platform::ignore_broken_pipes();
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {  // the standard library's: memory, mostly
    cria::log::error("{}", error.what());
    return kFailure;
  }
}
