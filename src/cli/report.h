// Turning memory plans and generation figures into text for people and JSON for programs.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/sequence.h"
#include "model/model.h"

namespace cria::cli {

[[nodiscard]] Json config_json(const model::ModelConfig& config);
[[nodiscard]] Json plan_json(const model::MemoryPlan& plan);

/// A fit: the plan, and the settings that lead to it; beside it the bytes of a model that drafts.
[[nodiscard]] Json fit_json(const model::Fit& fit);
[[nodiscard]] std::string fit_text(const model::Fit& fit, const gpu::Device& device, uint64_t draft_bytes = 0);
/// The settings in one line, as flags.
[[nodiscard]] std::string fit_flags(const model::Fit& fit);

/// GPU time by kernel, the longest first.
[[nodiscard]] Json profile_json(const engine::Profile& profile);
[[nodiscard]] std::string profile_text(const engine::Profile& profile);

/// The summary after a generation: device, memory by kind, times, speeds, stop reason, profile.
[[nodiscard]] Json stats_json(const engine::Engine& engine, const engine::GenerationStats& stats);
[[nodiscard]] std::string stats_text(const engine::Engine& engine, const engine::GenerationStats& stats);

}  // namespace cria::cli
