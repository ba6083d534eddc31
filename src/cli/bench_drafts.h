// The part of `cria bench` that measures what drafts give.
#pragma once

#include "cli/command.h"

namespace cria::cli {

struct BenchDraftFlags {
  std::string source = "off";
  uint32_t tokens = engine::DraftOptions{}.tokens;
  std::vector<std::string> replay;  ///< files: a prompt, and what the model answers to it
  std::vector<uint32_t> accepted = {0, 100};

  void add_to(CLI::App& command);
  [[nodiscard]] bool is_on() const { return source != "off"; }
};

/// What is measured beside the drafts.
struct BenchDraftSetup {
  std::filesystem::path folder;  ///< of the model; empty: its weights are made up
  model::ModelConfig config;
  std::vector<std::string> weights;
  uint32_t gen_tokens = 128;
  uint32_t depth = 0;
  uint32_t repetitions = 5;
  std::string format;
};

/// Measures the model with drafts and without, and prints both.
Status bench_drafts(const BenchDraftFlags& flags, const BenchDraftSetup& setup, engine::EngineOptions options);

}  // namespace cria::cli
