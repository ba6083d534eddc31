#include "cli/report.h"

#include <algorithm>
#include <vector>

namespace cria::cli {
namespace {

std::string row(std::string_view name, const std::string& value) { return fmt::format("  {:<10}{}\n", name, value); }

/// Kernels by GPU time, the longest first.
std::vector<std::pair<std::string, engine::Profile::Kernel>> sorted_kernels(const engine::Profile& profile) {
  std::vector<std::pair<std::string, engine::Profile::Kernel>> kernels(profile.kernels.begin(), profile.kernels.end());
  std::sort(kernels.begin(), kernels.end(),
            [](const auto& a, const auto& b) { return a.second.nanoseconds > b.second.nanoseconds; });
  return kernels;
}

}  // namespace

std::string profile_text(const engine::Profile& profile) {
  std::string text =
      fmt::format("\n  {:<40}{:>8}{:>12}{:>10}{:>8}\n", "kernel", "calls", "total ms", "mean us", "share");
  uint64_t sum = 0;
  for (const auto& [name, kernel] : sorted_kernels(profile)) {
    const auto nanoseconds = static_cast<double>(kernel.nanoseconds);
    text += fmt::format("  {:<40}{:>8}{:>12.2f}{:>10.1f}{:>7.1f}%\n", name, kernel.calls, nanoseconds / 1e6,
                        nanoseconds / 1e3 / static_cast<double>(kernel.calls),
                        100 * nanoseconds / static_cast<double>(std::max<uint64_t>(profile.gpu_nanoseconds, 1)));
    sum += kernel.nanoseconds;
  }
  text += fmt::format("  sum of kernels {:.2f} ms, GPU time of all steps {:.2f} ms\n", static_cast<double>(sum) / 1e6,
                      static_cast<double>(profile.gpu_nanoseconds) / 1e6);
  return text;
}

Json profile_json(const engine::Profile& profile) {
  Json kernels = Json::array();
  for (const auto& [name, kernel] : sorted_kernels(profile)) {
    kernels.push_back({{"kernel", name}, {"calls", kernel.calls}, {"nanoseconds", kernel.nanoseconds}});
  }
  return {{"kernels", kernels}, {"gpu_nanoseconds", profile.gpu_nanoseconds}};
}

Json config_json(const model::ModelConfig& config) {
  return {{"architecture", config.architecture_name},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_layers", config.num_layers},
          {"num_heads", config.num_heads},
          {"num_kv_heads", config.num_kv_heads},
          {"head_dim", config.head_dim},
          {"vocab_size", config.vocab_size},
          {"max_position_embeddings", config.max_position_embeddings},
          {"tie_word_embeddings", config.tie_word_embeddings}};
}

Json plan_json(const model::MemoryPlan& plan) {
  return {{"kv_type", kernels::kv_type_name(plan.kv_type)},
          {"max_context", plan.max_context},
          {"context_limited_by_binding", plan.context_limited_by_binding},
          {"batch_tokens", plan.max_batch_tokens},
          {"weight_bytes", plan.weight_bytes},
          {"kv_bytes", plan.kv_bytes},
          {"kv_bytes_per_position", plan.kv_bytes_per_position},
          {"scratch_bytes", plan.scratch_bytes},
          {"working_bytes", plan.working_bytes},
          {"streamed_layers", plan.streamed_layers},
          {"streamed_kv_layers", plan.streamed_kv},
          {"host_weight_bytes", plan.host_weight_bytes},
          {"host_kv_bytes", plan.host_kv_bytes},
          {"total_bytes", plan.total_bytes()}};
}

Json fit_json(const model::Fit& fit) {
  Json report = plan_json(fit.plan);
  report["weights"] = model::precision_name(fit.options.weights.precision);
  return report;
}

std::string fit_flags(const model::Fit& fit) {
  return fmt::format("--weights {} --max-context {} --kv-type {} --batch-tokens {}",
                     model::precision_name(fit.options.weights.precision), fit.plan.max_context,
                     kernels::kv_type_name(fit.plan.kv_type), fit.plan.max_batch_tokens);
}

std::string fit_text(const model::Fit& fit, const gpu::Device& device, uint64_t draft_bytes) {
  const model::MemoryPlan& plan = fit.plan;
  const gpu::DeviceInfo& info = device.info();
  std::string text = fmt::format("memory on {}:\n", info.name);
  text += row("weights", fmt::format("{} ({})", human_bytes(plan.weight_bytes),
                                     model::precision_name(fit.options.weights.precision)));
  text += row("KV cache", fmt::format("{} at {} positions ({} each, {})", human_bytes(plan.kv_bytes), plan.max_context,
                                      human_bytes(plan.kv_bytes_per_position), kernels::kv_type_name(plan.kv_type)));
  text +=
      row("scratch", fmt::format("{} for {} tokens at once", human_bytes(plan.scratch_bytes), plan.max_batch_tokens));
  text += row("working", fmt::format("{} for uploads, parameters and sampling", human_bytes(plan.working_bytes)));
  if (draft_bytes > 0) text += row("draft", fmt::format("{} for the model that drafts", human_bytes(draft_bytes)));
  text += row("total", human_bytes(plan.total_bytes() + draft_bytes));
  if (device.memory_budget() != 0) text += row("budget", human_bytes(device.memory_budget()));
  if (info.local_memory_bytes != 0) text += row("device", human_bytes(info.local_memory_bytes));
  if (plan.streamed_layers > 0 || plan.streamed_kv > 0) {
    text += row("host", fmt::format("{} for the weights of {} layers, {} for the keys and values of {}",
                                    human_bytes(plan.host_weight_bytes), plan.streamed_layers,
                                    human_bytes(plan.host_kv_bytes), plan.streamed_kv));
  }
  if (plan.context_limited_by_binding) {
    text += fmt::format("  the context is limited by the largest binding, {}\n",
                        human_bytes(info.limits.max_binding_bytes));
  }
  return text;
}

Json stats_json(const engine::Engine& engine, const engine::GenerationStats& stats) {
  const engine::MemoryUse memory = engine.memory();
  Json report = {
      {"device", engine.device().info().name},
      {"model", engine.path().string()},
      {"memory",
       {{"weight_bytes", memory.weight_bytes}, {"kv_bytes", memory.kv_bytes}, {"scratch_bytes", memory.scratch_bytes}}},
      {"load_seconds", engine.load_seconds()},
      {"prompt_tokens", stats.prompt_tokens},
      {"generated_tokens", stats.generated_tokens},
      {"time_to_first_token_seconds", stats.prefill_seconds},
      {"prefill_tokens_per_second", stats.prefill_tokens_per_second()},
      {"decode_tokens_per_second", stats.decode_tokens_per_second()},
      {"seed", stats.seed},
      {"stop_reason", engine::stop_reason_name(stats.stop_reason)}};
  if (stats.drafted_tokens > 0) {
    report["draft"] = {
        {"drafted_tokens", stats.drafted_tokens}, {"accepted_tokens", stats.accepted_tokens}, {"passes", stats.passes}};
  }
  if (!stats.profile.kernels.empty()) report["profile"] = profile_json(stats.profile);
  return report;
}

std::string stats_text(const engine::Engine& engine, const engine::GenerationStats& stats) {
  const engine::MemoryUse memory = engine.memory();
  std::string text = "\n";
  text += row("device", engine.device().info().name);
  text += row("memory", fmt::format("weights {}, KV cache {}, scratch {}", human_bytes(memory.weight_bytes),
                                    human_bytes(memory.kv_bytes), human_bytes(memory.scratch_bytes)));
  text += row("load", fmt::format("{:.2f} s, {}/s", engine.load_seconds(),
                                  human_bytes(static_cast<uint64_t>(static_cast<double>(memory.weight_bytes) /
                                                                    std::max(engine.load_seconds(), 1e-3)))));
  text += row("prompt", fmt::format("{} tokens, first token after {:.3f} s ({:.1f} tokens/s)", stats.prompt_tokens,
                                    stats.prefill_seconds, stats.prefill_tokens_per_second()));
  text += row("decode",
              fmt::format("{} tokens, {:.1f} tokens/s", stats.generated_tokens, stats.decode_tokens_per_second()));
  if (stats.drafted_tokens > 0) {
    text +=
        row("drafts", fmt::format("{} of {} tokens accepted ({:.0f} %), {:.2f} tokens per pass", stats.accepted_tokens,
                                  stats.drafted_tokens, 100.0 * stats.accepted_tokens / stats.drafted_tokens,
                                  static_cast<double>(stats.generated_tokens) / std::max(stats.passes, 1U)));
  }
  text += row("seed", std::to_string(stats.seed));
  text += row("stopped", std::string(engine::stop_reason_name(stats.stop_reason)));
  if (!stats.profile.kernels.empty()) text += profile_text(stats.profile);
  return text;
}

}  // namespace cria::cli
