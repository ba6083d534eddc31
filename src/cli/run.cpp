// `cria run`: continue a prompt, streaming the text to stdout and everything else to stderr.
#include <fmt/core.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>

#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/report.h"
#include "engine/defaults.h"
#include "engine/sequence.h"

namespace cria::cli {
namespace {

/// A prompt file above this size is a mistake, not a prompt.
constexpr size_t kMaxPromptBytes = 64ULL << 20;

struct RunFlags {
  ModelFlags model;
  DeviceFlags device;
  std::optional<std::string> prompt;
  std::string prompt_file;
  uint32_t max_tokens = 256;
  engine::SamplingChoice sampling;
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
  command.add_option("-n,--max-tokens", flags.max_tokens, "Tokens to generate at most")->capture_default_str();
  command.add_option("--temperature", flags.sampling.temperature, "0 is greedy [generation_config.json, or 0.7]");
  command.add_option("--top-k", flags.sampling.top_k, "Keep the K most likely tokens, 0 keeps all [or 40]");
  command.add_option("--top-p", flags.sampling.top_p, "Keep the most likely tokens up to this probability [or 0.95]");
  command.add_option("--min-p", flags.sampling.min_p, "Drop tokens below this share of the likeliest's probability [or 0]");
  command.add_option("--repetition-penalty", flags.sampling.repetition_penalty, "Above 1 avoids tokens already used [or 1.1]");
  command.add_option("--seed", flags.sampling.seed, "Seed of the random numbers; by default a new one each time");
  command.add_flag("--ignore-eos", flags.ignore_eos, "Go on after the model has ended its text");
  command.add_flag("--no-special-tokens", flags.no_special, "Do not put the tokenizer's special tokens around the prompt");
  command.add_flag("--profile", flags.profile, "Add a table of GPU time per kernel");
  command.add_flag("--json", flags.json, "Print text and figures as one JSON object on stdout");
  command.add_flag("--dry-run-fit", flags.dry_run_fit, "Only print the memory that the run would need");
  flags.device.add_to(command);
}

Result<std::string> read_stream(std::istream& stream, std::string_view name) {
  std::string text;
  char piece[65536];
  while (stream.read(piece, sizeof(piece)) || stream.gcount() > 0) {
    text.append(piece, static_cast<size_t>(stream.gcount()));
    if (text.size() > kMaxPromptBytes) {
      return fail(ErrorCode::kInvalidInput, "{}: the prompt is longer than {} bytes", name,
                  with_commas(kMaxPromptBytes));
    }
  }
  return text;
}

Result<std::string> read_prompt(const RunFlags& flags) {
  if (flags.prompt && !flags.prompt_file.empty()) {
    return fail(ErrorCode::kInvalidInput, "--prompt and --prompt-file were both given: one of them is enough");
  }
  if (flags.prompt) return *flags.prompt;
  if (!flags.prompt_file.empty()) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(flags.prompt_file, error)) {
      return fail(ErrorCode::kNotFound, "{}: is not a file that can be read", flags.prompt_file);
    }
    std::ifstream file(flags.prompt_file, std::ios::binary);
    if (!file) return fail(ErrorCode::kIo, "{}: cannot be opened", flags.prompt_file);
    return read_stream(file, flags.prompt_file);
  }
  if (platform::stdin_is_terminal()) {
    return fail(ErrorCode::kInvalidInput, "there is no prompt: give --prompt TEXT or --prompt-file FILE, or pipe it in");
  }
  return read_stream(std::cin, "standard input");
}

Status print_fit(const RunFlags& flags, const std::filesystem::path& path, const engine::EngineOptions& options) {
  CRIA_TRY_ASSIGN(const engine::OpenedModel opened, engine::open_model(path));
  CRIA_TRY_ASSIGN(const gpu::Device device, gpu::Device::open(options.device));
  CRIA_TRY_ASSIGN(const model::MemoryPlan plan,
                  model::plan(device.limits(), device.info().is_software(), opened.config,
                              model::formats_from(opened.folder, options.model.weights), options.model));
  fmt::print("{}", flags.json ? plan_json(plan).dump(2) + "\n" : plan_text(plan, device.info()));
  return {};
}

/// Generates, streaming to stdout unless the text is collected for JSON.
Result<engine::GenerationStats> generate(engine::Engine& engine, const std::vector<uint32_t>& prompt,
                                         const engine::GenerateOptions& options, bool stream, std::string& text) {
  CRIA_TRY_ASSIGN(engine::Sequence sequence, engine::Sequence::create(engine));
  text::StreamDecoder decoder(engine.tokenizer(), /*skip_special_tokens=*/true);
  Status failure;
  const auto emit = [&](const std::string& piece) {
    text += piece;
    if (!stream) return true;
    return std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() && std::fflush(stdout) == 0;
  };
  // The prompt goes through the decoder first, so that the text goes on where the prompt ends.
  for (const uint32_t token : prompt) {
    if (auto piece = decoder.push(token); !piece) return std::unexpected(std::move(piece).error());
  }
  auto stats = sequence.generate(prompt, options, [&](text::TokenId token) {
    auto piece = decoder.push(token);
    if (!piece) failure = std::unexpected(std::move(piece).error());
    if (failure && !emit(*piece)) failure = fail(ErrorCode::kIo, "the text cannot be written to standard output");
    return failure.has_value();
  });
  if (!stats) {
    if (stream && !text.empty()) fmt::print("\n");
    return stats;
  }
  CRIA_TRY(failure);
  if (!emit(decoder.finish() + (stream ? "\n" : ""))) {
    return fail(ErrorCode::kIo, "the text cannot be written to standard output");
  }
  return stats;
}

Status run(const RunFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  options.show_progress = platform::stderr_is_terminal();
  if (flags.dry_run_fit) return print_fit(flags, path, options);

  CRIA_TRY_ASSIGN(const std::string prompt, read_prompt(flags));
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(path, options));
  note_software_device(engine->device().info());
  if (!engine->has_tokenizer()) {
    return fail(ErrorCode::kNotFound, "{}: has no tokenizer.json, so that no text can be read", path.string());
  }
  engine::GenerateOptions generation;
  generation.sampling = engine::resolve_sampling(flags.sampling, engine->defaults());
  generation.max_tokens = flags.max_tokens;
  generation.profile = flags.profile;
  if (flags.profile && !engine->device().features().timestamps) {
    log::warning("{} has no timestamps: there is no profile", engine->device().info().name);
  }
  if (!flags.ignore_eos) generation.stop_tokens = engine::stop_tokens(engine->config(), engine->defaults());
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> tokens,
                  engine->tokenizer().encode(prompt, {.add_special_tokens = !flags.no_special}));
  platform::catch_interrupts();
  if (!flags.json) fmt::print("{}", prompt);
  std::string text;
  CRIA_TRY_ASSIGN(const engine::GenerationStats stats, generate(*engine, tokens, generation, !flags.json, text));
  if (flags.json) {
    Json report = stats_json(*engine, stats);
    report["prompt"] = prompt;
    report["text"] = text;
    fmt::print("{}\n", report.dump(2));
  } else {
    fmt::print(stderr, "{}", stats_text(*engine, stats));
  }
  return {};
}

}  // namespace

void add_run(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("run", "Continue a prompt with a model");
  auto flags = std::make_shared<RunFlags>();
  add_flags(*command, *flags);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
