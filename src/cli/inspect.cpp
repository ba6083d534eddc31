// `cria inspect`: what a model folder holds, and the memory it would need, without loading it.
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/report.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

struct InspectFlags {
  ModelFlags model;
  DeviceFlags device;
  bool tensors = false;
  bool json = false;
  bool fit = false;
};

/// Context lengths to show: powers of four up to the model's own limit, and that limit.
std::vector<uint32_t> context_lengths(uint32_t limit) {
  std::vector<uint32_t> lengths;
  for (uint64_t length = 2048; length < limit; length *= 4) lengths.push_back(static_cast<uint32_t>(length));
  lengths.push_back(limit);
  return lengths;
}

constexpr model::Precision kPrecisions[] = {
    model::Precision::kAsStored, model::Precision::kF32,  model::Precision::kF16,
    model::Precision::kBF16,     model::Precision::kInt8, model::Precision::kInt4,
    model::Precision::kQ4_K,     model::Precision::kQ5_K, model::Precision::kQ6_K};

Json tensor_json(const formats::TensorView& tensor) {
  return {{"name", tensor.name}, {"type", formats::dtype_name(tensor.dtype)}, {"shape", tensor.shape}};
}

uint64_t parameter_count(const formats::Checkpoint& checkpoint) {
  uint64_t count = 0;
  for (const std::string& name : checkpoint.names()) {
    const formats::TensorView& tensor = *checkpoint.find(name);
    count += tensor.data.size() / formats::dtype_bytes(tensor.dtype) * formats::dtype_block(tensor.dtype);
  }
  return count;
}

std::string model_text(const engine::OpenedModel& opened, bool tensors) {
  const model::ModelConfig& config = opened.config;
  std::string text = fmt::format("{}: {}, {} parameters\n", opened.files.checkpoint().path().string(),
                                 config.architecture_name, with_commas(parameter_count(opened.files.checkpoint())));
  text += fmt::format(
      "  layers {}, hidden {}, intermediate {}, heads {} of {} ({} key/value), vocabulary {}, context {}{}\n",
      config.num_layers, config.hidden_size, config.intermediate_size, config.num_heads, config.head_dim,
      config.num_kv_heads, config.vocab_size, config.max_position_embeddings,
      config.tie_word_embeddings ? ", tied embeddings" : "");
  if (!tensors) return text;
  for (const std::string& name : opened.files.checkpoint().names()) {
    const formats::TensorView& tensor = *opened.files.checkpoint().find(name);
    text += fmt::format("  {:<60} {:<6} [{}]\n", tensor.name, formats::dtype_name(tensor.dtype),
                        fmt::join(tensor.shape, ", "));
  }
  return text;
}

/// The bytes to compare with: the budget that was given, or nine tenths of the device's memory; 0: nothing.
uint64_t budget_of(const InspectFlags& flags, const gpu::Device& device) {
  if (device.memory_budget() != 0 || !flags.fit) return device.memory_budget();
  return device.info().local_memory_bytes / 10 * 9;
}

Result<model::Fit> best_fit(const InspectFlags& flags, const gpu::Device& device, const engine::OpenedModel& opened,
                            uint64_t budget) {
  if (budget == 0) {
    return fail(ErrorCode::kUnsupported, "{} does not tell how much memory it has: give --memory-budget",
                device.info().name);
  }
  CRIA_TRY_ASSIGN(const model::ModelOptions options, flags.model.options());
  const model::FormatsOfChoice formats = engine::formats_of(opened);
  return model::fit({.limits = device.limits(),
                     .is_software = device.info().is_software(),
                     .config = opened.config,
                     .formats = formats,
                     .budget = budget},
                    options);
}

Status run(const InspectFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  CRIA_TRY_ASSIGN(const engine::OpenedModel opened, engine::open_model(path));
  CRIA_TRY_ASSIGN(const gpu::DeviceOptions device_options, flags.device.options());
  CRIA_TRY_ASSIGN(const gpu::Device device, gpu::Device::open(device_options));
  Json plans = Json::array();
  std::string text = model_text(opened, flags.tensors);
  text += fmt::format("memory on {}:\n  {:<8}{:>10}{:>6}{:>12}{:>12}{:>12}{:>12}\n", device.info().name, "weights",
                      "context", "KV", "weights", "KV cache", "scratch", "total");
  const uint64_t budget = budget_of(flags, device);
  for (const model::Precision precision : kPrecisions) {
    for (const uint32_t context : context_lengths(opened.config.max_position_embeddings)) {
      CRIA_TRY_ASSIGN(model::ModelOptions options, flags.model.options());
      options.weights.precision = precision;
      options.max_context = context;
      CRIA_TRY_ASSIGN(const model::MemoryPlan plan,
                      model::plan(device.limits(), device.info().is_software(), opened.config,
                                  model::formats_from(opened.files.checkpoint(), options.weights), options));
      if (plan.max_context < context) continue;  // beyond what the device can bind
      Json entry = plan_json(plan);
      entry["weights"] = model::precision_name(precision);
      if (budget != 0) entry["fits"] = plan.total_bytes() <= budget;
      plans.push_back(entry);
      const std::string_view verdict = budget == 0 ? "" : plan.total_bytes() <= budget ? "  fits" : "  too large";
      text += fmt::format("  {:<8}{:>10}{:>6}{:>12}{:>12}{:>12}{:>12}{}\n", model::precision_name(precision),
                          plan.max_context, kernels::kv_type_name(plan.kv_type), human_bytes(plan.weight_bytes),
                          human_bytes(plan.kv_bytes), human_bytes(plan.scratch_bytes + plan.working_bytes),
                          human_bytes(plan.total_bytes()), verdict);
    }
  }
  Json best;
  if (flags.fit) {
    CRIA_TRY_ASSIGN(const model::Fit fit, best_fit(flags, device, opened, budget));
    best = fit_json(fit);
    text += fmt::format("best in {}: {}\n", human_bytes(budget), fit_flags(fit));
    if (fit.plan.streamed_layers > 0 || fit.plan.streamed_kv > 0) {
      text += fmt::format("  slow: {} of layers lie in memory of the host\n",
                          human_bytes(fit.plan.host_weight_bytes + fit.plan.host_kv_bytes));
    }
  }
  if (!flags.json) return write_output(text);
  Json tensors = Json::array();
  for (const std::string& name : opened.files.checkpoint().names())
    tensors.push_back(tensor_json(*opened.files.checkpoint().find(name)));
  Json report = {{"model", config_json(opened.config)},
                 {"parameters", parameter_count(opened.files.checkpoint())},
                 {"device", device.info().name},
                 {"memory", plans},
                 {"tensors", tensors}};
  if (flags.fit) report["best"] = {{"budget_bytes", budget}, {"fit", best}};
  return write_json(report);
}

}  // namespace

void add_inspect(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("inspect", "Show a model's architecture, tensors and memory needs");
  auto flags = std::make_shared<InspectFlags>();
  flags->model.add_model_to(*command);
  command->add_option("--kv-type", flags->model.kv_type, "Type of the KV cache: auto, f32, f16, int8")
      ->capture_default_str();
  command->add_flag("--tensors", flags->tensors, "List every tensor");
  command->add_flag("--fit", flags->fit, "Say what fits into --memory-budget (by default the device's memory)");
  command->add_flag("--json", flags->json, "Print as JSON");
  flags->device.add_to(*command);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
