// `cria bench`: how fast this machine reads prompts and generates tokens, with a model or made-up weights.
#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "cli/bench_drafts.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/report.h"
#include "model/shapes.h"

namespace cria::cli {
namespace {

using engine::BenchCase;

struct BenchFlags {
  ModelFlags model;
  DeviceFlags device;
  std::string shape;
  std::vector<std::string> weights = {"auto"};
  std::vector<uint32_t> prompt_tokens = {512};
  std::vector<uint32_t> gen_tokens = {128};
  std::vector<uint32_t> batches = {1};
  std::vector<uint32_t> depths = {0};
  uint32_t repetitions = 5;
  std::string format = "md";
  bool profile = false;
  bool list_shapes = false;
  BenchDraftFlags drafts;
};

constexpr uint32_t kMaxTokens = 1U << 24;
constexpr uint32_t kMaxBatch = 4096;
constexpr uint32_t kMaxRepetitions = 10000;

/// A list that is given as `--name 1,2,3`, as `--name 1 --name 2`, or both.
template <typename T>
CLI::Option* add_list(CLI::App& command, const std::string& names, std::vector<T>& values, const std::string& help) {
  return command.add_option(names, values, help)->delimiter(',')->allow_extra_args(false)->capture_default_str();
}

void add_flags(CLI::App& command, BenchFlags& flags) {
  flags.model.add_model_to(command);
  flags.model.add_tuning_to(command);
  command
      .add_option("--shape", flags.shape,
                  "Make up weights of this shape instead: a name, or hidden=2048,layers=22,heads=32,kv_heads=4,"
                  "intermediate=5632,vocab=32000")
      ->type_name("SHAPE");
  command.add_flag("--list-shapes", flags.list_shapes, "Only list the shapes that have names");
  add_list(command, "--weights", flags.weights,
           "Types of weights: auto (as stored; made up: f16), f32, f16, bf16, int8, int4, q4_k, q5_k, q6_k")
      ->type_name("TYPES");
  add_list(command, "-p,--prompt-tokens", flags.prompt_tokens, "Lengths of prompts to read; 0: none")
      ->check(CLI::Range(0U, kMaxTokens))
      ->type_name("LIST");
  add_list(command, "-n,--gen-tokens", flags.gen_tokens, "Numbers of tokens to generate; 0: none")
      ->check(CLI::Range(0U, kMaxTokens))
      ->type_name("LIST");
  add_list(command, "--batch", flags.batches, "Numbers of sequences at once")
      ->check(CLI::Range(1U, kMaxBatch))
      ->type_name("LIST");
  add_list(command, "--depth", flags.depths, "Numbers of tokens that the sequences hold before the measurement")
      ->check(CLI::Range(0U, kMaxTokens))
      ->type_name("LIST");
  command.add_option("-r,--repetitions", flags.repetitions, "Measurements of each case, after one that does not count")
      ->check(CLI::Range(1U, kMaxRepetitions))
      ->capture_default_str();
  command.add_option("--format", flags.format, "md, csv or json")->capture_default_str();
  command.add_flag("--profile", flags.profile, "Add GPU time per kernel, from a further run of each case");
  command
      .add_option("--kv-type", flags.model.kv_type,
                  "Type of the KV cache: auto (f32 for f32 weights, else f16), f32, f16, int8")
      ->capture_default_str()
      ->type_name("TYPE");
  command
      .add_option("--batch-tokens", flags.model.batch_tokens, "Tokens in one pass; by default chosen for the device")
      ->check(CLI::Range(1U, 4096U))
      ->type_name("TOKENS");
  flags.drafts.add_to(command);
  flags.device.add_to(command);
  command.footer(
      "tokens/s counts the tokens of all sequences. Generating samples greedily on the GPU and ends with the token's\n"
      "arrival on the CPU, as `cria run` does; reading a prompt ends with the logits after its last token. The share\n"
      "of bandwidth compares the bytes that a token must read (weights, keys, values) with what a kernel that does\n"
      "nothing else reads on this device.");
}

std::vector<BenchCase> cases_of(const BenchFlags& flags) {
  std::vector<BenchCase> cases;
  for (const uint32_t depth : flags.depths) {
    for (const uint32_t batch : flags.batches) {
      for (const auto& [kind, lengths] : {std::pair(BenchCase::Kind::kPrompt, flags.prompt_tokens),
                                          std::pair(BenchCase::Kind::kGenerate, flags.gen_tokens)}) {
        for (const uint32_t tokens : lengths) {
          if (tokens > 0) cases.push_back({.kind = kind, .tokens = tokens, .batch = batch, .depth = depth});
        }
      }
    }
  }
  return cases;
}

/// Where the weights come from.
struct Source {
  std::filesystem::path folder;  // empty: they are made up
  model::ModelConfig config;
  std::string name;
};

Result<Source> open_source(const BenchFlags& flags) {
  if (!flags.shape.empty()) {
    if (!flags.model.model.empty()) {
      return fail(ErrorCode::kInvalidInput, "--shape {} and the model {} were both given: one of them is enough",
                  flags.shape, flags.model.model);
    }
    CRIA_TRY_ASSIGN(model::ModelConfig config, model::parse_shape(flags.shape));
    return Source{.folder = {}, .config = std::move(config), .name = flags.shape};
  }
  CRIA_TRY_ASSIGN(std::filesystem::path folder, flags.model.path());
  CRIA_TRY_ASSIGN(engine::OpenedModel opened, engine::open_model(folder));
  std::string name = folder.filename().empty() ? folder.string() : folder.filename().string();
  return Source{.folder = std::move(folder), .config = std::move(opened.config), .name = std::move(name)};
}

/// Slots, and a context and passes no larger than the cases need. Errors: kInvalidInput for a case that is
/// longer than the model's context.
Status fit_options(const std::vector<BenchCase>& cases, const model::ModelConfig& config,
                   model::ModelOptions& options) {
  uint64_t context = 1;
  for (const BenchCase& what : cases) {
    if (what.positions() > config.max_position_embeddings) {
      return fail(ErrorCode::kInvalidInput, "{} needs a context of {} positions, more than the model's {}", what.name(),
                  with_commas(what.positions()), with_commas(config.max_position_embeddings));
    }
    context = std::max({context, what.positions(), uint64_t{what.batch}});
    options.slots = std::max(options.slots, what.batch);
  }
  options.max_context = static_cast<uint32_t>(context);
  return {};
}

class Printer {
 public:
  Printer(const BenchSetup& setup, std::string_view format) : setup_(setup), format_(format) {
    if (format_ == "md") fmt::print("{}", markdown_header(setup_));
    if (format_ == "csv") fmt::print("{}", csv_header());
  }

  /// Prints a line at once, as all of them may take a while.
  void add(const BenchEntry& entry) {
    if (format_ == "md") fmt::print("{}", markdown_row(setup_, entry));
    if (format_ == "csv") fmt::print("{}", csv_row(setup_, entry));
    std::fflush(stdout);
    if (format_ == "json") entries_.push_back(entry_json(setup_, entry));
    if (entry.result.profile.kernels.empty()) return;
    profiles_ += fmt::format("\n{}, {}, batch {}: GPU time of {} tokens\n{}", entry.weights, entry.result.what.name(),
                             entry.result.what.batch, entry.result.profiled_tokens, profile_text(entry.result.profile));
  }

  void finish() const {
    if (format_ == "md") fmt::print("{}", profiles_);
    if (format_ == "csv" && !profiles_.empty()) fmt::print(stderr, "{}", profiles_);
    if (format_ != "json") return;
    Json report = setup_json(setup_);
    report["results"] = entries_;
    fmt::print("{}\n", report.dump(2));
  }

 private:
  const BenchSetup& setup_;
  std::string_view format_;
  Json entries_ = Json::array();
  std::string profiles_;
};

Status measure_type(const BenchFlags& flags, const Source& source, const std::vector<BenchCase>& cases,
                    const std::string& weights, engine::EngineOptions options, Printer& printer) {
  CRIA_TRY_ASSIGN(options.model.weights.precision, model::parse_precision(weights));
  const bool is_made_up = source.folder.empty();
  if (is_made_up && weights == "auto") options.model.weights.precision = model::Precision::kF16;
  const std::string shown(model::precision_name(options.model.weights.precision));
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, is_made_up
                                                                    ? engine::Engine::make_up(source.config, options)
                                                                    : engine::Engine::load(source.folder, options));
  CRIA_TRY_ASSIGN(engine::Bench bench, engine::Bench::create(*engine, options.model.slots));
  const engine::BenchOptions bench_options{.repetitions = flags.repetitions, .profile = flags.profile};
  for (const BenchCase& what : cases) {
    log::debug("measuring {} with {} weights, batch {}", what.name(), shown, what.batch);
    CRIA_TRY_ASSIGN(engine::BenchResult result, bench.measure(what, bench_options));
    printer.add({.weights = shown,
                 .plan = engine->model().memory_plan(),
                 .load_seconds = engine->load_seconds(),
                 .result = std::move(result)});
  }
  return {};
}

void print_shapes() {
  for (const model::NamedShape& shape : model::named_shapes()) fmt::print("{:<14}{}\n", shape.name, shape.dimensions);
}

Status run(const BenchFlags& flags) {
  if (flags.list_shapes) {
    print_shapes();
    return {};
  }
  if (flags.format != "md" && flags.format != "csv" && flags.format != "json") {
    return fail(ErrorCode::kInvalidInput, "there is no format \"{}\": the formats are md, csv and json", flags.format);
  }
  for (const std::string& weights : flags.weights) CRIA_TRY(model::parse_precision(weights));
  const std::vector<BenchCase> cases = cases_of(flags);
  if (cases.empty()) return fail(ErrorCode::kInvalidInput, "--prompt-tokens and --gen-tokens leave nothing to measure");
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  CRIA_TRY_ASSIGN(const Source source, open_source(flags));
  if (flags.drafts.is_on()) {
    return bench_drafts(flags.drafts,
                        {.folder = source.folder,
                         .config = source.config,
                         .weights = flags.weights,
                         .gen_tokens = flags.gen_tokens.front(),
                         .depth = flags.depths.front(),
                         .repetitions = flags.repetitions,
                         .format = flags.format},
                        options);
  }
  CRIA_TRY(fit_options(cases, source.config, options.model));

  BenchSetup setup{.model = source.name,
                   .is_made_up = source.folder.empty(),
                   .config = source.config,
                   .device = {},
                   .bandwidth = {},
                   .link_bytes_per_second = 0};
  {
    CRIA_TRY_ASSIGN(gpu::Device device, gpu::Device::open(options.device));
    setup.device = device.info();
    note_software_device(setup.device);
    if (flags.profile && !setup.device.features.timestamps) {
      log::warning("{} has no timestamps: there is no profile", setup.device.name);
    }
    CRIA_TRY_ASSIGN(setup.bandwidth, engine::measure_read_bandwidth(device));
    if (device.memory_budget() != 0) {
      CRIA_TRY_ASSIGN(setup.link_bytes_per_second, engine::measure_link_bandwidth(device));
    }
  }
  Printer printer(setup, flags.format);
  for (const std::string& weights : flags.weights) {
    CRIA_TRY(measure_type(flags, source, cases, weights, options, printer));
  }
  printer.finish();
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("bench", "Measure how fast prompts are read and tokens generated");
  auto flags = std::make_shared<BenchFlags>();
  add_flags(*command, *flags);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
