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
  app.require_subcommand(1);
  bool quiet = false;
  bool verbose = false;
  app.add_flag("--quiet", quiet, "Print errors only");
  app.add_flag("--verbose", verbose, "Print what is being done");
  cria::cli::Command command;
  cria::cli::add_run(app, command);
  cria::cli::add_bench(app, command);
  cria::cli::add_devices(app, command);
  cria::cli::add_inspect(app, command);
  cria::cli::add_tokenize(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kFailure;
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
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {  // the standard library's: memory, mostly
    cria::log::error("{}", error.what());
    return kFailure;
  }
}
