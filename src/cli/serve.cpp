// `cria serve`: OpenAI's API over HTTP, on top of the scheduler.
#include "server/serve.h"
#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

struct ServeFlags {
  ModelFlags model;
  DeviceFlags device;
  DraftFlags draft;
  std::string chat_template;
  uint32_t slots = 4;
  uint32_t max_queue = 64;
  uint32_t chunk_tokens = 128;
  std::optional<uint32_t> shared_tokens;
  uint32_t cache_tokens = 0;
  uint64_t spill_bytes = engine::SchedulerOptions{}.spill_bytes;
  bool no_web = false;
  server::ServerOptions server;
};

/// The model's template, or the one that was named; nothing where the model has none, with a note.
Result<std::optional<text::ChatTemplate>> open_template(const std::filesystem::path& path, const std::string& name) {
  CRIA_TRY_ASSIGN(const engine::ModelFiles files, engine::ModelFiles::open(path));
  auto chosen = choose_template(files, name);
  if (chosen) return *std::move(chosen);
  if (!name.empty() || chosen.error().code() != ErrorCode::kNotFound) return std::unexpected(std::move(chosen).error());
  log::info("the model has no chat template: /v1/chat/completions is refused (see --template)");
  return std::nullopt;
}

/// The key of the flag, or of the environment, where it does not show in lists of processes.
std::string api_key(const std::string& flag) {
  const char* variable = std::getenv("CRIA_API_KEY");
  return flag.empty() && variable != nullptr ? variable : flag;
}

Status run(const ServeFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  CRIA_TRY_ASSIGN(options.draft, flags.draft.options());
  options.model.slots = flags.slots;
  options.model.cache_positions = flags.cache_tokens;
  options.show_progress = platform::stderr_is_terminal();
  options.needs_tokenizer = true;
  server::ServerOptions server_options = flags.server;
  server_options.api_key = api_key(flags.server.api_key);
  if (!flags.no_web) server_options.web = server::embedded_web();
  if (server_options.model_name.empty()) {
    server_options.model_name = std::filesystem::absolute(path).lexically_normal().filename().string();
  }
  CRIA_TRY(server::check_address(server_options));
  CRIA_TRY_ASSIGN(std::optional<text::ChatTemplate> chat, open_template(path, flags.chat_template));
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(path, options));
  note_software_device(engine->device().info());
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Scheduler> scheduler,
                  engine::Scheduler::create(*engine, {.max_queue = flags.max_queue,
                                                      .chunk_tokens = flags.chunk_tokens,
                                                      .shared_tokens = flags.shared_tokens,
                                                      .spill_bytes = flags.spill_bytes}));
  CRIA_TRY_ASSIGN(const std::unique_ptr<server::Server> server,
                  server::Server::create(*engine, *scheduler, std::move(chat), server_options));
  platform::catch_interrupts();
  const bool is_v6 = server_options.host.find(':') != std::string::npos;
  CRIA_TRY(write_output(
      fmt::format("http://{}{}{}:{}\n", is_v6 ? "[" : "", server_options.host, is_v6 ? "]" : "", server->port())));
  return server::serve(*server, *scheduler, std::chrono::seconds(server_options.drain_seconds));
}

void add_limits(CLI::App& command, ServeFlags& flags) {
  server::ServerOptions& server = flags.server;
  command.add_option("--slots", flags.slots, "Texts that are generated at once")
      ->check(number_from(1U, 256U))
      ->capture_default_str();
  command.add_option("--max-queue", flags.max_queue, "Requests that wait for a slot; more are refused")
      ->check(number_from(0U, 65536U))
      ->capture_default_str();
  command
      .add_option("--chunk-tokens", flags.chunk_tokens,
                  "Tokens of a pass that reads a prompt while texts are generated")
      ->check(number_from(1U, 4096U))
      ->capture_default_str();
  command
      .add_option("--shared-tokens", flags.shared_tokens,
                  "Tokens kept for prompts that begin alike, 0 shares nothing [the context]")
      ->check(number_from(0U, 1U << 30U))
      ->type_name("TOKENS");
  command.add_option("--cache-tokens", flags.cache_tokens, "Positions of the KV cache, of all texts together [all]")
      ->check(number_from(32U, 1U << 30U))
      ->type_name("TOKENS");
  command
      .add_option("--spill-memory", flags.spill_bytes,
                  "Host memory for texts that must wait when the KV cache is full; 0 reads them again")
      ->check(number_from(uint64_t{0}, uint64_t{1} << 44U))
      ->capture_default_str()
      ->type_name("BYTES");
  command.add_option("--max-tokens", server.max_tokens, "Tokens of one answer at most")
      ->check(number_from(1U, 1U << 24U))
      ->capture_default_str();
  command.add_option("--max-body", server.max_body_bytes, "Bytes of a request's body at most")
      ->check(number_from(uint64_t{1024}, uint64_t{1} << 30U))
      ->capture_default_str()
      ->type_name("BYTES");
  command.add_option("--max-connections", server.max_connections, "Connections at once; as many more wait")
      ->check(number_from(1U, 4096U))
      ->capture_default_str();
  command.add_option("--request-seconds", server.request_seconds, "Time for a request to arrive whole")
      ->check(number_from(1U, 3600U))
      ->capture_default_str();
  command.add_option("--drain-seconds", server.drain_seconds, "Time for answers that have begun, when the server ends")
      ->check(number_from(0U, 3600U))
      ->capture_default_str();
}

}  // namespace

void add_serve(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("serve", "Answer OpenAI's API over HTTP");
  auto flags = std::make_shared<ServeFlags>();
  server::ServerOptions& server = flags->server;
  flags->model.add_to(*command);
  command->add_option("--host", server.host, "Address to listen on; one that others can reach needs a key")
      ->capture_default_str()
      ->type_name("ADDRESS");
  command->add_option("--port", server.port, "Port to listen on; 0 takes any that is free")
      ->check(number_from(0U, 65535U))
      ->capture_default_str();
  command->add_option("--api-key", server.api_key, "Key that requests must bring; better in CRIA_API_KEY")
      ->type_name("KEY");
  command->add_option("--allow-host", server.allowed_hosts, "Name that Host may have; may be given several times")
      ->type_name("NAME")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      ->add_option("--cors-origin", server.allowed_origins, "Site whose pages may use the server, or *; several times")
      ->type_name("ORIGIN")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--model-name", server.model_name, "Name of the model in the API; by default its folder's")
      ->type_name("NAME");
  add_template_to(*command, flags->chat_template);
  command->add_flag("--no-web", flags->no_web, "Leaves out the page for browsers");
  add_limits(*command, *flags);
  flags->draft.add_to(*command);
  flags->device.add_to(*command);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
