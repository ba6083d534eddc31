// What the subcommands share: registration with the command line parser, and common options.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <concepts>
#include <cstdlib>
#include <functional>
#include <string>

#include "base/error.h"
#include "engine/defaults.h"
#include "engine/engine.h"
#include "grammar/grammar.h"
#include "text/chat_template.h"

namespace cria::cli {

/// A subcommand's body; its error ends the program with exit code 2 and the error's sentence.
using Command = std::function<Status()>;

/// Each adds a subcommand with its options and stores its body in `chosen` when it is the one called.
void add_run(CLI::App& app, Command& chosen);
void add_chat(CLI::App& app, Command& chosen);
void add_serve(CLI::App& app, Command& chosen);
void add_devices(CLI::App& app, Command& chosen);
void add_inspect(CLI::App& app, Command& chosen);
void add_tokenize(CLI::App& app, Command& chosen);
void add_bench(CLI::App& app, Command& chosen);
void add_selftest(CLI::App& app, Command& chosen);
void add_quantize(CLI::App& app, Command& chosen);
void add_perplexity(CLI::App& app, Command& chosen);

/// Accepts nothing but numbers from `low` to `high`; its refusal names the value and the limits.
template <typename T>
CLI::Validator number_from(T low, T high) {
  const auto check = [low, high](const std::string& input) -> std::string {
    const char* const end = input.data() + input.size();
    T value{};
    const char* stop = nullptr;
    if constexpr (std::integral<T>) {
      const auto read = std::from_chars(input.data(), end, value);
      stop = read.ec == std::errc() ? read.ptr : nullptr;
    } else {
      char* behind = nullptr;
      value = static_cast<T>(std::strtod(input.c_str(), &behind));
      stop = input.empty() ? nullptr : behind;
    }
    if (stop == end && value >= low && value <= high) return {};  // NaN is in no range
    return fmt::format("\"{}\" is not a {} from {} to {}", input, std::integral<T> ? "whole number" : "number", low,
                       high);
  };
  return CLI::Validator(check, fmt::format("{} to {}", low, high));
}

/// --device, --disable, --limit-binding and --memory-budget.
struct DeviceFlags {
  std::string device;
  std::string disable;
  uint64_t limit_binding = 0;
  std::string memory_budget;

  void add_to(CLI::App& command);
  [[nodiscard]] Result<gpu::DeviceOptions> options() const;
};

/// MODEL (or --model-dir), --weights, --f16-weights, --weight-block, --kv-type, --max-context, --batch-tokens.
struct ModelFlags {
  std::string model;
  std::string weights = "auto";
  bool f16_weights = false;
  uint32_t weight_block = 32;
  std::string kv_type = "auto";
  uint32_t max_context = 0;
  uint32_t batch_tokens = 0;
  std::string tuning = "on";

  void add_to(CLI::App& command);
  /// Only MODEL and --model-dir.
  void add_model_to(CLI::App& command);
  /// Only --tuning.
  void add_tuning_to(CLI::App& command);
  [[nodiscard]] Result<model::ModelOptions> options() const;
  /// The model named, or the one that Cria ships. Errors: kNotFound where there is neither.
  [[nodiscard]] Result<std::filesystem::path> path() const;
};

/// Reads a number of bytes: 1500000000, 10GiB, 512M (units of 1024). Errors: kInvalidInput.
Result<uint64_t> parse_bytes(const std::string& text);

/// --temperature, --top-k, --top-p, --min-p, the penalties, --logit-bias and --seed.
void add_sampling_to(CLI::App& command, engine::SamplingChoice& sampling);

/// --grammar and --json-schema.
struct GrammarFlags {
  std::string grammar_file;
  std::string schema_file;

  void add_to(CLI::App& command);
  /// The grammar that was asked for, or nothing. Errors: those of the file, and of what is in it.
  [[nodiscard]] Result<std::shared_ptr<const grammar::Grammar>> read() const;
};

/// --draft and --draft-tokens.
struct DraftFlags {
  std::string source = "off";
  uint32_t tokens = engine::DraftOptions{}.tokens;

  void add_to(CLI::App& command);
  /// Errors (kInvalidInput): another source than those.
  [[nodiscard]] Result<engine::DraftOptions> options() const;
};

/// --template.
void add_template_to(CLI::App& command, std::string& name);

/// A template for conversations: the one named (a file, or the name of one that comes with Cria), or the model's own
/// where the name is empty. Errors: kNotFound where the model has none, with what to do.
Result<text::ChatTemplate> choose_template(const engine::ModelFiles& files, const std::string& name);

/// Where Cria keeps what it can make again (CRIA_CACHE_DIR, or cria/ in the user's cache folder); may be empty.
[[nodiscard]] std::filesystem::path cache_folder();

/// Says in one line on stderr that a software device is used, where that is so.
void note_software_device(const gpu::DeviceInfo& info);

}  // namespace cria::cli
