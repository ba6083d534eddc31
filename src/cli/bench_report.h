// What `cria bench` prints: tables for people, lines and JSON for programs.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/bandwidth.h"
#include "engine/bench.h"

namespace cria::cli {

/// What all measurements of one call have in common.
struct BenchSetup {
  std::string model;  ///< as the user named it
  bool is_made_up = false;
  model::ModelConfig config;
  gpu::DeviceInfo device;
  engine::Bandwidth bandwidth;
  double link_bytes_per_second = 0;  ///< from memory of the host; 0 where it does not matter
};

/// One measurement, with what held for it.
struct BenchEntry {
  std::string weights;  ///< as asked for
  model::MemoryPlan plan;
  double load_seconds = 0;
  engine::BenchResult result;
};

/// The lines above a table of results, and one line of it. Markdown names the device and model above the
/// table, CSV on every line; its field `samples` holds the speeds of all repetitions, separated by blanks.
[[nodiscard]] std::string markdown_header(const BenchSetup& setup);
[[nodiscard]] std::string markdown_row(const BenchSetup& setup, const BenchEntry& entry);
[[nodiscard]] std::string csv_header();
[[nodiscard]] std::string csv_row(const BenchSetup& setup, const BenchEntry& entry);

[[nodiscard]] Json setup_json(const BenchSetup& setup);
[[nodiscard]] Json entry_json(const BenchSetup& setup, const BenchEntry& entry);

}  // namespace cria::cli
