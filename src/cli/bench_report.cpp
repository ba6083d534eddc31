#include "cli/bench_report.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "cli/report.h"

namespace cria::cli {
namespace {

using engine::BenchCase;
using engine::BenchResult;

bool is_prompt(const BenchResult& result) { return result.what.kind == BenchCase::Kind::kPrompt; }

double share(const BenchSetup& setup, const BenchResult& result) {
  return result.bytes_per_second() / setup.bandwidth.bytes_per_second;
}

/// Of the link to the host's memory.
double link_share(const BenchSetup& setup, const BenchResult& result) {
  return result.speed() * result.streamed_bytes_per_token / setup.link_bytes_per_second;
}

double lowest(const BenchResult& result) { return *std::ranges::min_element(result.tokens_per_second); }
double highest(const BenchResult& result) { return *std::ranges::max_element(result.tokens_per_second); }

/// Tokens per second with four digits or more.
std::string rate(double value) { return fmt::format("{:.{}f}", value, value < 100 ? 2 : value < 10000 ? 1 : 0); }

/// A field of a CSV line, quoted where it must be (RFC 4180).
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char letter : text) quoted += letter == '"' ? std::string("\"\"") : std::string(1, letter);
  return quoted + "\"";
}

}  // namespace

std::string markdown_header(const BenchSetup& setup) {
  std::string text = fmt::format("{} ({}, {}), reads {:.1f} GB/s\n", setup.device.name, setup.device.backend,
                                 setup.device.driver, setup.bandwidth.bytes_per_second / 1e9);
  if (setup.link_bytes_per_second > 0) {
    text += fmt::format("copies {:.1f} GB/s from the host's memory\n", setup.link_bytes_per_second / 1e9);
  }
  text += fmt::format("{}{}\n\n", setup.model, setup.is_made_up ? " (made-up weights)" : "");
  text +=
      "| weights | KV cache | test | batch | tokens/s | lowest to highest | read per token | GB/s | share of bandwidth "
      "| CPU us/token | recording us/token |";
  if (setup.link_bytes_per_second > 0) text += " from host per token | share of link |";
  text += "\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|";
  if (setup.link_bytes_per_second > 0) text += "--:|--:|";
  return text + "\n";
}

std::string markdown_row(const BenchSetup& setup, const BenchEntry& entry) {
  const BenchResult& result = entry.result;
  std::string text = fmt::format("| {} | {} | {} | {} | {} | {} to {} |", entry.weights,
                                 kernels::kv_type_name(entry.plan.kv_type), result.what.name(), result.what.batch,
                                 rate(result.speed()), rate(lowest(result)), rate(highest(result)));
  text += is_prompt(result)
              ? " | | |"
              : fmt::format(" {} | {:.1f} | {:.1f} % |", human_bytes(static_cast<uint64_t>(result.bytes_per_token)),
                            result.bytes_per_second() / 1e9, 100 * share(setup, result));
  text += fmt::format(" {:.1f} | {:.1f} |", result.cpu_seconds_per_token * 1e6, result.record_seconds_per_token * 1e6);
  if (setup.link_bytes_per_second > 0 && is_prompt(result)) text += " | |";
  if (setup.link_bytes_per_second > 0 && !is_prompt(result)) {
    text += fmt::format(" {} | {:.1f} % |", human_bytes(static_cast<uint64_t>(result.streamed_bytes_per_token)),
                        100 * link_share(setup, result));
  }
  return text + "\n";
}

std::string csv_header() {
  return "device,driver,read_bytes_per_second,model,weights,kv_type,test,batch,depth,repetitions,tokens_per_second,"
         "lowest,highest,samples,bytes_per_token,bandwidth_share,cpu_us_per_token,record_us_per_token\n";
}

std::string csv_row(const BenchSetup& setup, const BenchEntry& entry) {
  const BenchResult& result = entry.result;
  const std::string test = fmt::format("{}{}", is_prompt(result) ? "pp" : "tg", result.what.tokens);
  return fmt::format("{},{},{:.0f},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{:.3f},{:.0f},{:.4f},{:.2f},{:.2f}\n",
                     csv_field(setup.device.name), csv_field(setup.device.driver), setup.bandwidth.bytes_per_second,
                     csv_field(setup.model), entry.weights, kernels::kv_type_name(entry.plan.kv_type), test,
                     result.what.batch, result.what.depth, result.tokens_per_second.size(), result.speed(),
                     lowest(result), highest(result), fmt::join(result.tokens_per_second, " "), result.bytes_per_token,
                     share(setup, result), result.cpu_seconds_per_token * 1e6, result.record_seconds_per_token * 1e6);
}

Json setup_json(const BenchSetup& setup) {
  return {{"device",
           {{"name", setup.device.name},
            {"type", setup.device.type},
            {"backend", setup.device.backend},
            {"driver", setup.device.driver},
            {"features", gpu::feature_names(setup.device.features)},
            {"read_bytes_per_second", setup.bandwidth.bytes_per_second},
            {"link_bytes_per_second", setup.link_bytes_per_second}}},
          {"model", setup.model},
          {"is_made_up", setup.is_made_up},
          {"shape", config_json(setup.config)}};
}

Json entry_json(const BenchSetup& setup, const BenchEntry& entry) {
  const BenchResult& result = entry.result;
  Json json = {{"weights", entry.weights},
               {"kv_type", kernels::kv_type_name(entry.plan.kv_type)},
               {"kind", is_prompt(result) ? "pp" : "tg"},
               {"tokens", result.what.tokens},
               {"batch", result.what.batch},
               {"depth", result.what.depth},
               {"batch_tokens", entry.plan.max_batch_tokens},
               {"memory", plan_json(entry.plan)},
               {"weight_bytes", entry.plan.weight_bytes},
               {"load_seconds", entry.load_seconds},
               {"tokens_per_second",
                {{"median", result.speed()},
                 {"lowest", lowest(result)},
                 {"highest", highest(result)},
                 {"samples", result.tokens_per_second}}},
               {"cpu_seconds_per_token", result.cpu_seconds_per_token},
               {"record_seconds_per_token", result.record_seconds_per_token}};
  if (!is_prompt(result)) {
    json["bytes_per_token"] = result.bytes_per_token;
    json["bytes_per_second"] = result.bytes_per_second();
    json["bandwidth_share"] = share(setup, result);
    if (setup.link_bytes_per_second > 0) {
      json["streamed_bytes_per_token"] = result.streamed_bytes_per_token;
      json["link_share"] = link_share(setup, result);
    }
  }
  if (!result.profile.kernels.empty()) {
    json["profile"] = profile_json(result.profile);
    json["profile"]["tokens"] = result.profiled_tokens;
  }
  return json;
}

}  // namespace cria::cli
