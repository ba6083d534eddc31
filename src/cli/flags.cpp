// Options that several subcommands share.
#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/streams.h"
#include "grammar/json_schema.h"

namespace cria::cli {

void DeviceFlags::add_to(CLI::App& command) {
  command.add_option("--device", device, "Device: its index in `cria devices`, or part of its name")
      ->type_name("INDEX|NAME");
  command
      .add_option("--disable", disable,
                  fmt::format("Pretend that features are absent: {}", gpu::feature_names(gpu::kAllFeatures, ",")))
      ->type_name("FEATURES");
  command.add_option("--limit-binding", limit_binding, "Lower the largest buffer binding; tensors above it are split")
      ->check(number_from(uint64_t{1}, UINT64_MAX))
      ->type_name("BYTES");
  command
      .add_option("--memory-budget", memory_budget,
                  "Memory of the device to use at most, as 10GiB, or auto (nine tenths of it): weights, context and KV "
                  "type that are not given are chosen to fit, and layers that do not fit lie in the host's memory")
      ->type_name("BYTES");
}

Result<uint64_t> parse_bytes(const std::string& text) {
  std::string number = text;
  uint64_t bytes = 0;
  bool is_number = true;
  try {
    CLI::AsSizeValue(/*kb_is_1000=*/false)(number);  // throws what it refuses
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), bytes);
    is_number = error == std::errc() && end == number.data() + number.size();
  } catch (const CLI::Error&) {
    is_number = false;
  }
  if (is_number) return bytes;
  return fail(ErrorCode::kInvalidInput, "\"{}\" is no number of bytes such as 1500000000, 512M or 10GiB", text);
}

Result<gpu::DeviceOptions> DeviceFlags::options() const {
  gpu::DeviceOptions options;
  options.selector = device;
  options.binding_limit = limit_binding;
  options.validates = std::getenv("CRIA_VALIDATE") != nullptr;
  if (const std::filesystem::path folder = cache_folder(); !folder.empty()) options.cache_folder = folder / "pipelines";
  CRIA_TRY_ASSIGN(options.disabled, gpu::parse_features(disable));
  if (memory_budget == "auto") {
    options.memory_budget = gpu::kAutoBudget;
  } else if (!memory_budget.empty()) {
    auto bytes = parse_bytes(memory_budget);
    if (!bytes) return std::unexpected(std::move(bytes).error().while_doing("reading --memory-budget"));
    if (*bytes == 0) return fail(ErrorCode::kInvalidInput, "--memory-budget 0 leaves nothing for a model");
    options.memory_budget = *bytes;
  }
  return options;
}

void ModelFlags::add_model_to(CLI::App& command) {
  command
      .add_option("MODEL,--model-dir", model,
                  "Model: a folder (config.json, tokenizer.json, *.safetensors) or a GGUF file")
      ->type_name("PATH");
}

void ModelFlags::add_to(CLI::App& command) {
  add_model_to(command);
  auto* type =
      command.add_option("--weights", weights,
                         "Type of weights on the GPU: auto (as stored), f32, f16, bf16, int8, int4, q4_k, q5_k, q6_k");
  type->capture_default_str()->type_name("TYPE");
  command.add_flag("--f16-weights", f16_weights, "The same as --weights f16")->excludes(type);
  command
      .add_option("--weight-block,--gemm-int8-block-size", weight_block,
                  "Columns that share a scale with int8 and int4")
      ->check(CLI::IsMember({32U, 64U, 128U}))
      ->capture_default_str();
  command
      .add_option("--kv-type", kv_type, "Type of the KV cache: auto (f32 for f32 weights, else f16), f32, f16, int8")
      ->capture_default_str()
      ->type_name("TYPE");
  command.add_option("--max-context", max_context, "Positions of context at most; by default the model's own limit")
      ->check(number_from(1U, 1U << 24U))
      ->type_name("TOKENS");
  command.add_option("--batch-tokens", batch_tokens, "Prompt tokens in one pass; by default chosen for the device")
      ->check(number_from(1U, 4096U))
      ->type_name("TOKENS");
  add_tuning_to(command);
}

void ModelFlags::add_tuning_to(CLI::App& command) {
  command.add_option("--tuning", tuning, "Measure kernel variants on a GPU: on (once, then remembered), off, renew")
      ->capture_default_str()
      ->type_name("MODE");
}

Result<model::ModelOptions> ModelFlags::options() const {
  model::ModelOptions options;
  CRIA_TRY_ASSIGN(options.weights.precision, model::parse_precision(f16_weights ? "f16" : weights));
  options.weights.block = weight_block;
  CRIA_TRY_ASSIGN(options.kv, model::parse_kv_type(kv_type));
  options.max_context = max_context;
  options.max_batch_tokens = batch_tokens;
  CRIA_TRY_ASSIGN(options.tuning.mode, model::parse_tuning_mode(tuning));
  if (const std::filesystem::path folder = cache_folder(); !folder.empty())
    options.tuning.file = folder / "tuning.json";
  return options;
}

Result<std::filesystem::path> ModelFlags::path() const {
  if (!model.empty()) return std::filesystem::path(model);
  const std::filesystem::path program = platform::executable_path().parent_path();
  // In a bundle models/ stands beside bin/; in a build tree the source folder's own is used.
  for (const std::filesystem::path& root : {program / "..", std::filesystem::path(CRIA_MODEL_ROOT)}) {
    std::filesystem::path candidate = (root / "models" / "cria-stories-11m").lexically_normal();
    std::error_code ignored;
    if (std::filesystem::exists(candidate / "config.json", ignored)) return candidate;
  }
  return fail(ErrorCode::kNotFound, "no model was named, and the one that comes with Cria is not beside {}",
              program.string());
}

namespace {

/// Reads ID=VALUE, or as llama.cpp has it, ID+VALUE and ID-VALUE.
std::optional<engine::LogitBias> parse_bias(const std::string& text) {
  engine::LogitBias bias;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, bias.token);
  if (error != std::errc() || after == end || (*after != '=' && *after != '+' && *after != '-')) return std::nullopt;
  std::string value(*after == '-' ? after : after + 1, end);
  if (!number_from(-100.0F, 100.0F)(value).empty()) return std::nullopt;
  bias.value = std::strtof(value.c_str(), nullptr);
  return bias;
}

void add_logit_bias_to(CLI::App& command, std::vector<engine::LogitBias>& biases) {
  const auto check = [](const std::string& text) -> std::string {
    if (parse_bias(text)) return {};
    return fmt::format("\"{}\" is no ID=VALUE, where ID is a token's number and VALUE from -100 to 100", text);
  };
  const auto store = [&biases](const std::vector<std::string>& list) {
    biases.clear();
    for (const std::string& text : list) biases.push_back(parse_bias(text).value());
  };
  command
      .add_option_function<std::vector<std::string>>("--logit-bias", store,
                                                     "Add VALUE to a token's logit; several times")
      ->check(CLI::Validator(check, ""))
      ->type_name("ID=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace

/// The ranges here are those of engine::validate, which also refuses the 0 that top-p and the penalty cannot be.
void add_sampling_to(CLI::App& command, engine::SamplingChoice& sampling) {
  command.add_option("--temperature", sampling.temperature, "0 is greedy [generation_config.json, or 0.7]")
      ->check(number_from(0.0F, 100.0F));
  command.add_option("--top-k", sampling.top_k, "Keep the K most likely tokens, 0 keeps all [or 40]")
      ->check(number_from(0U, UINT32_MAX));
  command.add_option("--top-p", sampling.top_p, "Keep the most likely tokens up to this probability [or 0.95]")
      ->check(number_from(0.0F, 1.0F));
  command.add_option("--min-p", sampling.min_p, "Drop tokens below this share of the likeliest's probability [or 0]")
      ->check(number_from(0.0F, 1.0F));
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty, "Above 1 avoids tokens already used [or 1.1]")
      ->check(number_from(0.0F, 100.0F));
  command
      .add_option("--presence-penalty", sampling.presence_penalty, "Taken off tokens that were generated before [0]")
      ->check(number_from(-2.0F, 2.0F));
  command
      .add_option("--frequency-penalty", sampling.frequency_penalty, "Taken off as often as they were generated [0]")
      ->check(number_from(-2.0F, 2.0F));
  add_logit_bias_to(command, sampling.logit_bias);
  command.add_option("--seed", sampling.seed, "Seed of the random numbers; by default a new one each time")
      ->check(number_from(uint64_t{0}, UINT64_MAX));
}

void GrammarFlags::add_to(CLI::App& command) {
  auto* grammar =
      command.add_option("--grammar", grammar_file, "File with a grammar (GBNF) that what is generated must fit");
  grammar->type_name("FILE");
  command.add_option("--json-schema", schema_file, "File with a JSON Schema that what is generated must fit")
      ->type_name("FILE")
      ->excludes(grammar);
}

Result<std::shared_ptr<const grammar::Grammar>> GrammarFlags::read() const {
  if (!grammar_file.empty()) {
    CRIA_TRY_ASSIGN(const std::string text, read_text_file(grammar_file));
    CRIA_TRY_ASSIGN(grammar::Grammar grammar, grammar::Grammar::parse(text, grammar_file));
    return std::make_shared<const grammar::Grammar>(std::move(grammar));
  }
  if (!schema_file.empty()) {
    CRIA_TRY_ASSIGN(const std::string text, read_text_file(schema_file));
    CRIA_TRY_ASSIGN(const OrderedJson schema, parse_ordered_json(text, schema_file));
    CRIA_TRY_ASSIGN(grammar::Grammar grammar, grammar::schema_grammar(schema, schema_file));
    return std::make_shared<const grammar::Grammar>(std::move(grammar));
  }
  return nullptr;
}

void DraftFlags::add_to(CLI::App& command) {
  command
      .add_option(
          "--draft,--model-draft", source,
          "Verify several drafted tokens in a pass where that is faster: a smaller model of the same vocabulary, "
          "lookup (what followed the last tokens when they came before), off")
      ->capture_default_str()
      ->type_name("MODEL|lookup|off");
  command.add_option("--draft-tokens,--draft-max", tokens, "Tokens of a draft at most")
      ->check(number_from(1U, engine::kMaxDraftTokens))
      ->capture_default_str();
}

Result<engine::DraftOptions> DraftFlags::options() const {
  engine::DraftOptions options{.tokens = tokens};
  if (source == "off") return options;
  if (source == "lookup") {
    options.source = engine::DraftSource::kLookup;
    return options;
  }
  if (std::error_code ignored; !std::filesystem::exists(source, ignored)) {
    return fail(ErrorCode::kInvalidInput, "--draft {} is neither a model's folder or file, nor lookup, nor off",
                source);
  }
  options.source = engine::DraftSource::kModel;
  options.model = source;
  return options;
}

void add_template_to(CLI::App& command, std::string& name) {
  command.add_option("--template", name, "Chat template: a file, or " + text::ChatTemplate::builtin_names())
      ->type_name("FILE|NAME");
}

Result<text::ChatTemplate> choose_template(const engine::ModelFiles& files, const std::string& name) {
  const std::string path = files.path().string();
  std::string jinja;
  std::string settings;
  if (files.folder() != nullptr) {
    jinja = files.folder()->chat_template_jinja();
    settings = files.folder()->tokenizer_config_json();
  } else {
    CRIA_TRY_ASSIGN(const auto text, files.chat_template());
    CRIA_TRY_ASSIGN(const text::TokenizerFiles tokenizer, files.gguf_tokenizer_files());
    jinja = text.value_or("");
    settings = tokenizer.tokenizer_config;
  }
  if (name.empty()) {
    CRIA_TRY_ASSIGN(auto own, text::ChatTemplate::from_files(jinja, settings, path));
    if (own) return *std::move(own);
    return fail(ErrorCode::kNotFound,
                "{}: has no chat template, as models that only continue texts: use `cria run`, or name a template with "
                "--template (a file, or {})",
                path, text::ChatTemplate::builtin_names());
  }
  CRIA_TRY_ASSIGN(auto tokens, text::special_tokens(settings, path));
  if (const auto source = text::ChatTemplate::builtin(name)) {
    return text::ChatTemplate::parse(*source, std::move(tokens), name);
  }
  auto source = read_text_file(name);
  if (source) return text::ChatTemplate::parse(*source, std::move(tokens), name);
  return std::unexpected(std::move(source).error().while_doing(fmt::format(
      "looking for a chat template; those that come with Cria are {}", text::ChatTemplate::builtin_names())));
}

std::filesystem::path cache_folder() {
  const char* folder = std::getenv("CRIA_CACHE_DIR");
  if (folder != nullptr && *folder != 0) return folder;
  const std::filesystem::path path = platform::user_cache_folder();
  return path.empty() ? path : path / "cria";
}

void note_software_device(const gpu::DeviceInfo& info) {
  if (info.is_software()) log::info("no GPU is used: running on {}, in software and slowly", info.name);
}

}  // namespace cria::cli
